"""The whole way from a checkpoint to verified files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoint.test_contract import VALUES
from tests.conftest import REPOSITORY
from tests.export.exported_files import NAMES, SIZE_HW
from vedette.checkpoint.exported.onnx import read_onnx
from vedette.checkpoint.exported.openvino import read_openvino
from vedette.checkpoint.exported.torchscript import read_torchscript
from vedette.config.export import ExportConfig
from vedette.data.synthetic import draw_dataset
from vedette.errors import CheckpointError, MissingExtraError, ModelError, UsageError
from vedette.export import run as run_module
from vedette.export.run import ExportedFormat, ExportReport, export

READERS = {"torchscript": read_torchscript, "onnx": read_onnx, "openvino": read_openvino}


def config(exports, **options):
    return ExportConfig.parse({"weights": str(exports.weights), **options})


@pytest.mark.parametrize("name", READERS)
def test_a_file_carries_everything_and_nothing_of_this_machine(name, exports):
    path = exports.path(name)
    exported = READERS[name](path)
    contract = exported.contract
    assert (contract.format, contract.class_names, contract.letterbox.size_hw) == (name, NAMES, SIZE_HW)
    assert contract.frame_hw == SIZE_HW
    assert contract.batch_size == 1
    assert contract.source.name == "small.safetensors"
    assert sum(len(picture.detections) for picture in contract.golden.pictures) > 10
    assert set(contract.to_dict()) == set(VALUES)
    for part in exported.parts.values():
        for trace in (str(REPOSITORY), "site-packages", sys.prefix, str(Path.home()), str(exports.folder)):
            assert trace.encode() not in part


@pytest.mark.parametrize("name", READERS)
def test_the_report_lies_beside_or_inside(name, exports):
    path = exports.path(name)
    report = path / "verification.json" if path.is_dir() else path.with_name(f"{path.name}.verification.json")
    values = json.loads(report.read_text())
    assert values["passed"] is True
    assert values["golden"]["boxes"] > 10
    assert values["file"] == path.name


def test_several_formats_and_the_change_of_ap(exports, tmp_path):
    data = draw_dataset(tmp_path / "data", train=1, val=3, size_hw=(64, 96))
    import yaml

    values = yaml.safe_load(data.read_text())
    values["names"] = list(NAMES)
    for labels in (tmp_path / "data" / "labels").rglob("*.txt"):
        rows = [line.split() for line in labels.read_text().splitlines()]
        labels.write_text("".join(f"{int(row[0]) % 3} {' '.join(row[1:])}\n" for row in rows))
    mine = tmp_path / "data" / "mine.yaml"
    mine.write_text(yaml.safe_dump(values))
    steps = []
    report = export(
        config(exports, formats=("torchscript", "openvino"), data=str(mine), output=str(tmp_path / "out")),
        lambda name, step: steps.append((name, step)),
    )
    assert report.exit_code == 0
    assert [result.format for result in report.formats] == ["torchscript", "openvino"]
    for result in report.formats:
        assert result.verification.ap is not None
        assert abs(result.verification.ap_change) < 0.001
        assert result.verification.data.pictures == 3
        assert result.bytes > 100_000
    assert ("openvino", "verifying") in steps
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "small.torchscript",
        "small.torchscript.verification.json",
        "small_openvino_model",
    ]


def test_a_second_export_takes_the_place_of_the_first(exports, tmp_path):
    for name in ("torchscript", "openvino"):
        exports.copy(name, tmp_path)
        assert exports.export(name, output=str(tmp_path)).succeeded
    assert len(list(tmp_path.iterdir())) == 3
    assert exports.path("torchscript").read_bytes() == (tmp_path / "small.torchscript").read_bytes()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weights": ""}, "--weights is missing"),
        ({"formats": ("onnxx",)}, "no such format"),
        ({"formats": ("onnx",), "precision": "bf16"}, "onnx cannot be written with bf16"),
        ({"formats": ("torchscript",), "nms": True}, "torchscript cannot be written with detections"),
        (
            {"formats": ("onnx", "torchscript"), "precision": "fp16"},
            "torchscript cannot be written with fp16",
        ),
        ({"formats": ("onnx",), "int8": True}, "int8 needs pictures to measure ranges on"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(options, text, exports, tmp_path):
    with pytest.raises(UsageError, match=text):
        export(config(exports, **{"output": str(tmp_path), **options}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_data_set_of_other_classes_is_refused_before_anything_is_converted(
    precision, exports, tmp_path, monkeypatch
):
    data = draw_dataset(tmp_path / "data", train=1, val=1, size_hw=(64, 64))  # of six classes
    monkeypatch.setattr(run_module, "_written_and_verified", lambda *_: pytest.fail("converted"))
    with pytest.raises(ModelError, match="the model has 3 classes, the data 6"):
        export(config(exports, data=str(data), precision=precision, output=str(tmp_path / "out")))


def test_missing_packages_are_named_before_anything_is_written(exports, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match="export to openvino needs the package 'openvino'"):
        export(config(exports, formats=("torchscript", "openvino"), output=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_a_file_that_differs_does_not_take_the_place_of_a_good_one(exports, tmp_path, monkeypatch):
    assert exports.export("torchscript", output=str(tmp_path)).succeeded
    good = (tmp_path / "small.torchscript").read_bytes()
    spoil(monkeypatch)
    result = exports.export("torchscript", output=str(tmp_path))
    assert isinstance(result.error, ModelError)
    assert "finds other boxes than PyTorch" in str(result.error)
    assert ExportReport((result,)).exit_code == 2
    assert (tmp_path / "small.torchscript").read_bytes() == good
    assert len(list(tmp_path.iterdir())) == 2
    kept = exports.export("torchscript", output=str(tmp_path), keep_differing=True)
    assert kept.path == tmp_path / "small.torchscript"
    assert ExportReport((kept,)).exit_code == 1
    report = json.loads((tmp_path / "small.torchscript.verification.json").read_text())
    assert report["passed"] is False
    assert report["problems"]


def spoil(monkeypatch):
    """Let converters see a network with other weights than the reference."""
    from vedette.export import job

    original = job.FrameDetector

    def spoilt(detector, output):
        network = original(detector, output)
        weight = next(network.parameters())
        weight.data.mul_(1.3)
        return network

    monkeypatch.setattr(job, "FrameDetector", spoilt)


def test_a_converter_that_fails_does_not_stop_the_others(exports, tmp_path, monkeypatch):
    from vedette.export import openvino

    def fail(*arguments, **options):
        raise RuntimeError("no such operator\nin line 3")

    monkeypatch.setattr(openvino, "convert_openvino", fail)
    report = export(config(exports, formats=("openvino", "torchscript"), output=str(tmp_path)))
    failed, made = report.formats
    assert "the converter failed (RuntimeError: no such operator in line 3)" in str(failed.error)
    assert made.succeeded
    assert report.exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "small.torchscript",
        "small.torchscript.verification.json",
    ]


def test_damaged_weights_are_refused(tmp_path):
    path = tmp_path / "best.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        export(ExportConfig(weights=str(path), output=str(tmp_path)))


def test_exit_codes():
    good = ExportedFormat("a", Path("a"), verification=type("V", (), {"passed": True})())
    bad = ExportedFormat("b", error=ModelError("x"))
    assert ExportReport((good,)).exit_code == 0
    assert ExportReport((good, bad)).exit_code == 1
    assert ExportReport((bad,)).exit_code == 2


def test_shipped_weights_are_exported_into_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(
        run_module, "_export_one", lambda plan, chosen, progress: seen.append(run_module._output_folder(plan))
    )
    export(ExportConfig(weights="yolov5n-voc"))
    assert seen == [Path()]


def test_sizes_are_raised_to_the_stride(exports, tmp_path):
    result = exports.export("torchscript", output=str(tmp_path), image_size=(90, 100))
    assert result.contract.frame_hw == (96, 128)
    assert np.prod(result.contract.letterbox.size_hw) == 96 * 128
