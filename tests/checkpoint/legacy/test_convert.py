"""The process that reads: what it writes, what it refuses, and what it may not do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.checkpoint.legacy.archives import SYSTEM, dictionary, program, stored, text
from tests.checkpoint.legacy.published import (
    assert_same_state,
    filled_detector,
    save_release,
    small_architecture,
)
from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.legacy import child
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


def answered_here(request: dict[str, Any], path: Path) -> dict[str, Any]:
    """What the other process answers, from this one and unconfined, which takes a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "confined", contextlib.nullcontext)
        patch.setattr(child, "limit_resources", lambda size: None)
        patch.setattr(child, "_warm_up", lambda: None)
        patch.setattr("sys.stdin", io.StringIO(json.dumps(request)))
        patch.setattr("sys.stdout", io.StringIO())
        child.main()
        answer: dict[str, Any] = json.loads(sys.stdout.getvalue())  # type: ignore[attr-defined]
    return answer


def test_a_file_that_changed_is_converted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is kept by what is in the file, not by its name or time; the folder of the file is left alone."""
    monkeypatch.setenv("VEDETTE_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "read-only"
    folder.mkdir()
    monkeypatch.setattr(module, "_ask", answered_here)
    for seed in (1, 2):
        detector = filled_detector(small_architecture("v4.0"), seed)
        path = save_release(folder / "old.pt", detector)
        os.utime(path, (1, 1))
        folder.chmod(0o500)
        try:
            assert_same_state(dict(load(path).detector.state_dict()), detector)
        finally:
            folder.chmod(0o700)
        assert [each.name for each in folder.iterdir()] == ["old.pt"]
    assert len(list((tmp_path / "cache" / "imported").iterdir())) == 2


def test_two_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both get the detector; one whole copy is left, and nothing besides.

    The processes that read do not take modules from the folder they are started in.
    """
    (tmp_path / "torch.py").write_text("raise SystemExit('a module of a stranger')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VEDETTE_CACHE_DIR", str(tmp_path / "cache"))
    detector = filled_detector(small_architecture("v4.0"))
    path = save_release(tmp_path / "old.pt", detector)
    with ThreadPoolExecutor(2) as pool:  # each starts a process of its own
        found = list(pool.map(load, [path, path]))
    for each in found:
        assert_same_state(dict(each.detector.state_dict()), detector)
    (kept,) = (tmp_path / "cache" / "imported").iterdir()
    assert_same_state(dict(load_detector(kept).detector.state_dict()), detector)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """What was read would be kept under what it was not."""
    path = save_release(tmp_path / "old.pt", filled_detector(small_architecture("v4.0")))
    request = {
        "path": str(path),
        "output": str(tmp_path / "new.safetensors"),
        "cfg": "",
        "allow_nonfinite": False,
    }
    answer = answered_here({**request, "sha256": "0" * 64}, path)
    assert (answer["error"]["what"], answer["error"]["where"]) == ("changed while it was read", str(path))
    assert [each.name for each in tmp_path.iterdir()] == ["old.pt"]


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
