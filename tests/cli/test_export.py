"""The command as people type it, with the flags of old scripts."""

import pytest

from vedette.cli import export as command
from vedette.cli.app import main
from vedette.config.export import ExportConfig


def parsed(monkeypatch, *arguments):
    seen = []
    monkeypatch.setattr(command, "_export", lambda config: seen.append(config) or 0)
    assert command.run(arguments) == 0
    return seen[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--weights a.pt --img-size 640 384 --batch-size 2", {"image_size": (640, 384), "batch_size": 2}),
        ("--weights a.pt --img 320 --batch 1", {"image_size": (320, 320)}),
        (
            "--weights a.pt --include onnx openvino --dynamic",
            {"formats": ("onnx", "openvino"), "dynamic": "all"},
        ),
        ("--weights a.pt --include torchscript --imgsz 640", {"formats": ("torchscript",)}),
        ("--weights a.pt --half --simplify --opset 18", {"precision": "fp16", "opset": 18}),
        ("--weights a.pt --int8 --data x.yaml", {"precision": "int8", "data": "x.yaml"}),
        (
            "--weights a.pt --nms --agnostic-nms --topk-all 50",
            {"nms": True, "agnostic_nms": True, "max_detections": 50},
        ),
        ("--weights a.pt --conf-thres 0.3 --iou-thres 0.6", {"conf_threshold": 0.3, "iou_threshold": 0.6}),
        (
            "--weights a.pt --format onnx --dynamic batch --precision int8",
            {"dynamic": "batch", "precision": "int8"},
        ),
    ],
)
def test_flags_of_old_scripts(line, expected, monkeypatch):
    config = parsed(monkeypatch, *line.split())
    assert {name: getattr(config, name) for name in expected} == expected
    assert config.weights == "a.pt"


def test_export_and_verify_by_command(exports, tmp_path, capsys):
    arguments = ["--weights", str(exports.weights), "--format", "torchscript", "--output", str(tmp_path)]
    assert main(["export", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "golden pictures" in printed
    assert f"written to {tmp_path / 'small.torchscript'}" in printed
    assert main(["verify", str(tmp_path / "small.torchscript")]) == 0
    assert "small.torchscript finds what PyTorch finds" in capsys.readouterr().out


def test_refusals_are_one_line_and_an_exit_code(exports, tmp_path, capsys):
    arguments = ["--weights", str(exports.weights), "--format", "onnx", "--output", str(tmp_path)]
    assert main(["export", *arguments, "--precision", "bf16"]) == 2
    assert capsys.readouterr().err == (
        "vedette: error: vedette export: onnx cannot be written with bf16; ONNX Runtime has no bf16 convolutions on "
        "CPUs; use openvino, or fp16 for a GPU\n"
    )
    assert not list(tmp_path.iterdir())


def test_every_field_has_a_flag_and_a_help_text(capsys):
    assert main(["export", "--help"]) == 0
    printed = capsys.readouterr().out
    for field in ExportConfig.model_fields.values():
        assert field.description
    for flag in (
        "--weights",
        "--include",
        "--img-size",
        "--dynamic",
        "--nms",
        "--opset",
        "--data",
        "--output",
    ):
        assert flag in printed
