"""Trackers can fail; runs do not."""

from __future__ import annotations

import pytest

from vedette.track.events import Event, Note
from vedette.train.events import Emitter


class _Recorder:
    def __init__(self) -> None:
        self.texts: list[str] = []
        self.closed = False

    def handle(self, event: Event) -> None:
        assert isinstance(event, Note)
        self.texts.append(event.text)

    def close(self) -> None:
        self.closed = True


class _Broken(_Recorder):
    def __init__(self, *, when_closed: bool = False) -> None:
        super().__init__()
        self.calls = 0
        self.when_closed = when_closed

    def handle(self, event: Event) -> None:
        self.calls += 1
        if not self.when_closed:
            raise RuntimeError("no network")

    def close(self) -> None:
        if self.when_closed:
            raise OSError("disk gone")


def test_a_tracker_that_raises_is_dropped_and_reported_once() -> None:
    broken, recorder = _Broken(), _Recorder()
    emitter = Emitter([broken, recorder])
    emitter.note("one")
    emitter.note("two")
    assert broken.calls == 1
    assert recorder.texts == ["_Broken failed and was switched off (RuntimeError: no network)", "one", "two"]


def test_closing_reports_and_goes_on() -> None:
    recorder = _Recorder()
    emitter = Emitter([_Broken(when_closed=True), recorder])
    emitter.close()
    assert recorder.closed
    assert recorder.texts == ["_Broken failed and was switched off (OSError: disk gone)"]


def test_a_table_of_the_run_that_cannot_be_written_is_the_runs_own_trouble() -> None:
    recorder = _Recorder()
    emitter = Emitter([recorder], own=[_Broken()])
    with pytest.raises(RuntimeError, match="no network"):
        emitter.note("one")
    emitter.close()  # what comes while a failed run is closed must not hide why it failed
    assert recorder.closed
