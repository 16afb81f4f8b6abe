"""The process that reads: what it writes, what it refuses, and what it may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoint.legacy.archives import SYSTEM, dictionary, program, stored, text
from tests.checkpoint.legacy.published import (
    assert_same_state,
    filled_detector,
    save_release,
    small_architecture,
)
from vedette.checkpoint.legacy import convert as module
from vedette.checkpoint.legacy.convert import convert
from vedette.checkpoint.load import load
from vedette.errors import CheckpointError, WriteError


def test_converted_file_is_the_detector_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEDETTE_CACHE_DIR", str(tmp_path / "cache"))
    detector = filled_detector(small_architecture("v7.0"))
    path = save_release(tmp_path / "old.pt", detector)
    first = load(path)
    assert_same_state(dict(first.detector.state_dict()), detector, half=True)
    assert first.class_names == ("cat", "dog")
    assert first.letterbox.size_hw == (416, 416)
    imported = first.metadata["imported"]
    assert (imported["file"], imported["epoch"], imported["release"]) == ("old.pt", 11, "v7.0")

    def forbidden(*_: object) -> None:
        raise AssertionError("converted a second time")

    monkeypatch.setattr(module, "_ask", forbidden)
    again = load(path)
    assert_same_state(dict(again.detector.state_dict()), first.detector)
    (kept,) = (tmp_path / "cache" / "imported").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(AssertionError, match="a second time"):
        load(path)  # a damaged copy is not used


def test_refusals_come_back_with_their_words(tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    attack = SYSTEM + text(f"echo >{tmp_path / 'canary'}") + b"\x85R"
    path.write_bytes(stored({"data.pkl": program(dictionary(model=attack))}))
    with pytest.raises(CheckpointError, match=r"bad\.pt: model: asks to call posix\.system.*Nothing was run"):
        convert(path, tmp_path / "new.safetensors")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bad.pt"]
    with pytest.raises(CheckpointError, match="no such file"):
        convert(tmp_path / "none.pt", tmp_path / "new.safetensors")


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    path = save_release(tmp_path / "old.pt", filled_detector(small_architecture("v4.0")))
    with pytest.raises(WriteError, match="folder does not exist"):
        convert(path, tmp_path / "none" / "new.safetensors")


def test_without_a_cache_folder_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cache_folder", lambda: None)
    monkeypatch.setattr(module, "_START", "import sys; sys.exit('asked')")
    (tmp_path / "old.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="asked"):
        load(tmp_path / "old.pt")
    assert [each.name for each in tmp_path.iterdir()] == ["old.pt"]


def test_a_reader_that_stops_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_START", "import sys; sys.exit('out of memory')")
    (tmp_path / "old.pt").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=r"made its reader stop \(exit code 1: out of memory\)"):
        convert(tmp_path / "old.pt", tmp_path / "new.safetensors")
