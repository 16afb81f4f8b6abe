"""Prepared runtimes are found by their checkpoint, and only whole ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from vedette.config.detect import DetectConfig
from vedette.infer.configured import prepared_choice
from vedette.infer.prepared import PreparedRuntime, prepared_runtime, remember, runtime_folder

FOUND = PreparedRuntime("small.onnx", "onnx", "float32", 10.0, 25.0, 0.01, 0.0001)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint, never opened here, with a prepared runtime."""
    monkeypatch.setenv("VEDETTE_CACHE_DIR", str(tmp_path / "cache"))
    path = tmp_path / "small.safetensors"
    path.write_bytes(b"weights")
    _prepare(path)
    return path


def _prepare(weights: Path) -> Path:
    folder = runtime_folder(weights, None)
    assert folder is not None
    folder.mkdir(parents=True)
    (folder / FOUND.file).write_bytes(b"network")
    remember(FOUND, folder)
    return folder


def test_it_is_found_by_its_checkpoint_size_and_device(weights: Path) -> None:
    found = prepared_runtime(weights, None)
    assert found is not None
    assert found[0] == FOUND
    assert found[1].read_bytes() == b"network"
    assert found[0].sentence().startswith("runs on onnx in float32, 2.5 x as fast as PyTorch")
    assert prepared_runtime(weights, (64, 64)) is None
    assert prepared_runtime(weights, None, "cpu") is None, "prepared where no GPU was, not beside one"


def test_a_changed_checkpoint_is_another_one(weights: Path) -> None:
    weights.write_bytes(b"weight2!")
    assert prepared_runtime(weights, None) is None
    weights.unlink()
    assert prepared_runtime(weights, None) is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        "{}",
        '{"file": "../x.onnx", "format": "onnx", "precision": "float32", "milliseconds": 1.0, '
        '"pytorch_milliseconds": 1.0, "box_px": 0.0, "score": 0.0}',
        '{"file": "small.onnx", "format": "onnx", "precision": 3, "milliseconds": 1.0, '
        '"pytorch_milliseconds": 1.0, "box_px": 0.0, "score": 0.0}',
        '{"file": "small.onnx", "format": "onnx", "precision": "float32", "milliseconds": 0.0, '
        '"pytorch_milliseconds": 1.0, "box_px": 0.0, "score": 0.0}',
        '{"file": "small.onnx", "more": 1}' + " " * 200_000,
    ],
)
def test_a_damaged_note_is_none(weights: Path, note: str) -> None:
    folder = runtime_folder(weights, None)
    assert folder is not None
    (folder / "runtime.json").write_text(note)
    assert prepared_runtime(weights, None) is None


def test_where_the_file_is_gone_there_is_nothing(weights: Path) -> None:
    found = prepared_runtime(weights, None)
    assert found is not None
    found[1].unlink()
    assert prepared_runtime(weights, None) is None


def test_without_a_cache_there_is_nothing(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vedette.infer.prepared.cache_folder", lambda: None)
    assert runtime_folder(weights, None) is None
    assert prepared_runtime(weights, None) is None


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({}, True),
        ({"conf_threshold": 0.5, "classes": (1,), "threads": 2}, True),
        ({"runtime": "fastest"}, True),
        ({"runtime": "pytorch"}, False),
        ({"precision": "bf16"}, False),
        ({"half": True}, False),
        ({"letterbox": "minimal"}, False),
        ({"augment": True}, False),
        ({"visualize": True}, False),
        ({"device": "0"}, False),
        ({"image_size": (64, 64)}, False),
    ],
)
def test_it_is_taken_where_it_does_all_that_is_asked_for(
    weights: Path, settings: dict[str, object], taken: bool
) -> None:
    config = DetectConfig(weights=(str(weights),), source=("a.jpg",), **settings)  # type: ignore[arg-type]
    assert (prepared_choice(config) is not None) == taken


def test_an_exported_file_or_several_files_are_what_was_asked_for(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    shutil.copy(weights, other)
    several = DetectConfig(weights=(str(weights), str(other)), source=("a.jpg",))
    assert prepared_choice(several) is None
    assert prepared_choice(DetectConfig(weights=(str(tmp_path / "x.onnx"),), source=("a.jpg",))) is None
