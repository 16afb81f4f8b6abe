import importlib.util
from pathlib import Path

import pytest

from vedette.cli.app import main
from vedette.config.export import ExportConfig
from vedette.errors import MissingExtraError, UsageError
from vedette.export import formats
from vedette.export.formats import FEATURES, FORMATS, NOT_WRITTEN, Format, check_features, find_format
from vedette.export.run import export


@pytest.mark.parametrize("chosen", FORMATS.values(), ids=FORMATS)
def test_entries_are_whole(chosen):
    assert FORMATS[chosen.name] is chosen
    assert importlib.util.find_spec(chosen.module) is not None
    assert set(chosen.cannot) <= set(FEATURES)
    assert all(reason.strip() for reason in chosen.cannot.values())
    assert not chosen.refusal(chosen.output)
    assert not chosen.refusal("float32")


def test_files_lie_beside_the_checkpoint_or_in_a_folder():
    weights = Path("runs") / "best.safetensors"
    assert find_format("onnx").path_for(weights, None) == Path("runs") / "best.onnx"
    assert find_format("openvino").path_for(weights, Path("out")) == Path("out") / "best_openvino_model"
    assert find_format("torchscript").path_for(weights, None) == Path("runs") / "best.torchscript"


def test_unknown_formats_name_the_nearest():
    with pytest.raises(UsageError, match="--format onxx: no such format; did you mean 'onnx'"):
        find_format("onxx")


EXPORT_PY = [
    *("torchscript", "onnx", "openvino", "engine", "coreml", "saved_model"),
    *("pb", "tflite", "edgetpu", "tfjs", "paddle"),
]
"""Formats of the last export.py, but for its own native one."""

WRITTEN = {
    "torchscript": "torchscript",
    "onnx": "onnx",
    "openvino": "openvino",
    "coreml": "coreml",
    "tflite": "litert",
}


@pytest.mark.parametrize("name", EXPORT_PY)
def test_names_of_export_py_are_understood(name, capsys, tmp_path):
    if name in WRITTEN:
        assert find_format(name) is FORMATS[WRITTEN[name]]
        return
    weights = tmp_path / "none.safetensors"
    assert main(["export", "--weights", str(weights), "--include", "onnx", name]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith(f"vedette: error: --format {name}: ")
    assert error.endswith("; ".join(NOT_WRITTEN[name]))


def test_a_format_under_both_names_is_one(exports, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "FORMER_NAMES", {"script": "torchscript"})
    settings = {"weights": str(exports.weights), "output": str(tmp_path), "formats": "script,torchscript"}
    (result,) = export(ExportConfig.parse(settings)).formats
    assert result.format == "torchscript"


def test_what_a_format_cannot_do_is_refused_with_the_reason():
    check_features(find_format("onnx"), ("float32", "detections", "any batch size"))
    with pytest.raises(UsageError, match="onnx cannot be written with bf16; ONNX Runtime has no bf16"):
        check_features(find_format("onnx"), ("bf16", "cells"))
    with pytest.raises(
        UsageError, match="openvino cannot be written with detections; suppression in the graph"
    ):
        check_features(find_format("openvino"), ("detections",))


def test_missing_packages_are_named():
    missing = Format("x", ".x", False, "vedette.export.onnx", packages={"no_such_package": "export-x"})
    with pytest.raises(
        MissingExtraError, match=r"export to x needs the package 'no_such_package'.*\[export-x\]"
    ):
        missing.writer()
