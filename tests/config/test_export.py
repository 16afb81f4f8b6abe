import pytest

from vedette.config.export import ExportConfig, VerifyConfig
from vedette.errors import ConfigError


def test_formats_with_spaces_or_commas():
    assert ExportConfig.parse({"formats": "onnx,openvino"}).formats == ("onnx", "openvino")
    assert ExportConfig.parse({"formats": ["onnx", "openvino,torchscript"]}).formats == (
        "onnx",
        "openvino",
        "torchscript",
    )
    with pytest.raises(ConfigError):
        ExportConfig.parse({"formats": ""})


@pytest.mark.parametrize(("switch", "precision"), [("half", "fp16"), ("int8", "int8")])
def test_old_switches_are_precisions(switch, precision):
    assert ExportConfig.parse({switch: True}).precision == precision
    assert ExportConfig.parse({switch: "true", "precision": precision}).precision == precision
    assert ExportConfig.parse({switch: False}).precision == "float32"
    with pytest.raises(ConfigError, match=f"--{switch} and --precision bf16 contradict each other"):
        ExportConfig.parse({switch: True, "precision": "bf16"})


def test_two_precisions_contradict():
    with pytest.raises(ConfigError, match="contradict"):
        ExportConfig.parse({"half": True, "int8": True})


@pytest.mark.parametrize(
    "values",
    [
        {"batch_size": 0},
        {"dynamic": "some"},
        {"precision": "fp8"},
        {"conf_threshold": 2},
        {"outputs": "boxes"},
    ],
)
def test_values_out_of_range(values):
    with pytest.raises(ConfigError):
        ExportConfig.parse(values)


def test_verify_needs_a_file():
    with pytest.raises(ConfigError, match="file"):
        VerifyConfig.parse({})
    assert VerifyConfig.parse({"file": "a.onnx", "min_overlap": "0.5"}).min_overlap == 0.5
