"""A process that fails, dies or cannot start is an error that names its log; it never stays behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.track.story import started
from vedette.track.child_process import ChildTracker, TrackerError
from vedette.track.events import Note, StepDone
from vedette.track.mlflow_store import MlflowSettings


def _child(folder: Path, kind: str = "mlflow", **environment: str) -> ChildTracker:
    settings = MlflowSettings(folder, "no-such-store://x", "experiment", "exp")
    return ChildTracker(kind, settings, log=folder / "child.log", environment=environment)


def test_nothing_is_started_before_there_is_something_to_tell(tmp_path: Path) -> None:
    child = _child(tmp_path)
    child.handle(StepDone(1, 0, 1, {}, 1.0, 0.0, 1.0))
    child.close()
    assert list(tmp_path.iterdir()) == []


def test_what_the_tracker_raises_is_raised_here(tmp_path: Path) -> None:
    child = _child(tmp_path, "unheard-of")
    with pytest.raises(TrackerError, match=r"child\.log: ValueError: no tracker is called 'unheard-of'"):
        child.handle(started(tmp_path))
    child.close()


def test_a_process_that_dies_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # Python cannot start
    child = _child(tmp_path)
    with pytest.raises(TrackerError, match="its process ended"):
        child.handle(Note("first"))
    monkeypatch.delenv("PYTHONHOME")
    child.close()
    assert (tmp_path / "child.log").stat().st_size > 0


def test_an_abandoned_process_ends(tmp_path: Path) -> None:
    child = _child(tmp_path, "unheard-of")
    with pytest.raises(TrackerError):
        child.handle(Note("first"))
    process = child._process
    assert process is not None
    assert process.poll() is None
    child.abandon()
    assert process.wait(30) != 0
    with pytest.raises(TrackerError, match="its process was ended"):
        child.handle(Note("second"))
    child.close()
    assert "vedette" not in os.environ.get("MLFLOW_DISABLE_TELEMETRY", "")
