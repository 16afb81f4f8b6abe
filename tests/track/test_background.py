"""A tracker may raise, sleep or hang: the run goes on, and what was not delivered is said."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.track.story import epoch_done, started, weights_saved
from vedette.track import background
from vedette.track.background import Background, close_together, in_background
from vedette.track.events import EpochDone, Event, Note, StepDone, WeightsSaved


class _Recorder:
    """Takes events when it is let."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.gate = threading.Event()
        self.busy = threading.Event()
        self.events: list[Event] = []
        self.weights: list[bytes] = []
        self.threads: set[str] = set()
        self.closed = 0
        if open_gate:
            self.gate.set()

    def handle(self, event: Event) -> None:
        self.busy.set()
        self.gate.wait(30)
        self.threads.add(threading.current_thread().name)
        self.events.append(event)
        if isinstance(event, WeightsSaved):
            self.weights.append(event.path.read_bytes())

    def close(self) -> None:
        self.closed += 1


class _Raising(_Recorder):
    def handle(self, event: Event) -> None:
        super().handle(event)
        raise RuntimeError("no network")


def _texts(tracker: Background) -> list[str]:
    return [note.text for note in tracker.take_notes()]


def _step(number: int) -> StepDone:
    return StepDone(number, 0, number, {}, 1.0, 0.0, 1.0)


def test_events_arrive_in_order_in_another_thread() -> None:
    recorder = _Recorder()
    tracker = Background(recorder)
    events = [Note(str(number)) for number in range(20)]
    for event in events:
        tracker.handle(event)
    tracker.close()
    assert recorder.events == events
    assert recorder.closed == 1
    assert recorder.threads == {"tracker _Recorder"}
    assert _texts(tracker) == []


def test_a_tracker_without_events_is_closed_too() -> None:
    recorder = _Recorder()
    Background(recorder).close()
    assert recorder.closed == 1


def test_one_that_raises_is_switched_off_with_one_note() -> None:
    raising = _Raising()
    tracker = Background(raising, name="Broken")
    tracker.handle(Note("one"))
    tracker.handle(Note("two"))
    tracker.close()
    tracker.handle(Note("three"))
    assert len(raising.events) == 1
    assert raising.closed == 1, "it may still hold files"
    assert _texts(tracker) == ["Broken failed and was switched off (RuntimeError: no network)"]


def test_one_that_hangs_holds_nobody_up_and_what_is_lost_is_said() -> None:
    hanging, abandoned = _Recorder(open_gate=False), threading.Event()
    tracker = Background(hanging, name="Hanging", abandon=abandoned.set)
    for epoch in range(3):
        tracker.handle(epoch_done(epoch))
        tracker.handle(_step(epoch))
    assert hanging.busy.wait(30)
    before = time.monotonic()
    close_together([tracker], 0.05)
    assert time.monotonic() - before < 20, "negative control of the gate: it would wait for half a minute"
    assert _texts(tracker) == [
        "Hanging was not done in time and was left behind (not delivered: 3 EpochDone)"
    ]
    assert abandoned.is_set()
    hanging.gate.set()


def test_progress_is_replaced_by_newer_progress() -> None:
    slow = _Recorder(open_gate=False)
    tracker = Background(slow)
    tracker.handle(Note("begin"))
    assert slow.busy.wait(30)
    for number in range(1000):
        tracker.handle(_step(number))
    slow.gate.set()
    tracker.close()
    assert slow.events == [Note("begin"), _step(999)]
    assert _texts(tracker) == [], "old progress is no loss"


def test_a_full_queue_gives_up_the_less_important_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(background, "MAX_WAITING", 5)
    slow = _Recorder(open_gate=False)
    tracker = Background(slow, name="Slow")
    tracker.handle(started(tmp_path))
    assert slow.busy.wait(30)
    for epoch in range(4):
        tracker.handle(_step(epoch))
        tracker.handle(Note(f"epoch {epoch}"))
        tracker.handle(epoch_done(epoch))
    slow.gate.set()
    tracker.close()
    assert sum(isinstance(event, EpochDone) for event in slow.events) == 4
    assert Note("epoch 3") in slow.events
    assert _texts(tracker) == ["Slow did not get everything (not delivered: 3 Note)"]


def test_a_checkpoint_is_read_as_it_was_though_it_was_replaced_since(tmp_path: Path) -> None:
    slow = _Recorder(open_gate=False)
    tracker = Background(slow)
    tracker.handle(started(tmp_path))
    contents = [f"weights {number}".encode() for number in range(3)]
    for epoch, content in enumerate(contents):
        tracker.handle(weights_saved(tmp_path, epoch, ("last",), content))
    slow.gate.set()
    tracker.close()
    assert slow.weights == contents
    assert list((tmp_path / "tracking" / "kept").iterdir()) == []


def test_checkpoints_that_wait_are_bounded_and_the_newest_are_kept(tmp_path: Path) -> None:
    slow = _Recorder(open_gate=False)
    tracker = Background(slow, name="Slow")
    tracker.handle(started(tmp_path))
    assert slow.busy.wait(30)
    count = background.MAX_WEIGHTS + 3
    for epoch in range(count):
        tracker.handle(weights_saved(tmp_path, epoch, ("last",), str(epoch).encode()))
    assert len(list((tmp_path / "tracking" / "kept").iterdir())) == background.MAX_WEIGHTS
    slow.gate.set()
    tracker.close()
    assert slow.weights == [str(epoch).encode() for epoch in range(3, count)]
    assert _texts(tracker) == ["Slow did not get everything (not delivered: 3 WeightsSaved)"]


def test_a_checkpoint_that_cannot_be_kept_is_counted(tmp_path: Path) -> None:
    recorder = _Recorder()
    tracker = Background(recorder, name="Full")
    tracker.handle(started(tmp_path))
    tracker.handle(WeightsSaved(tmp_path / "gone.safetensors", 0, ("last",), {}))
    tracker.handle(Note("after"))
    tracker.close()
    assert Note("after") in recorder.events
    assert _texts(tracker) == ["Full did not get everything (not delivered: 1 WeightsSaved)"]


def test_who_wants_the_trainers_thread_gets_it() -> None:
    class Immediate(_Recorder):
        immediate = True

    wanting, other = Immediate(), _Recorder()
    assert in_background(wanting) is wanting
    wrapped = in_background(other)
    assert isinstance(wrapped, Background)
    assert in_background(wrapped) is wrapped
    wrapped.close()
