"""A tracker in a thread of its own: whatever it does or fails to do, the run neither stops nor waits for it.

The trainer only appends to a bounded queue. What is not delivered is counted and said at the end of the run.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue

from vedette.track.events import (
    EpochDone,
    Event,
    Note,
    PicturesFound,
    PicturesSaved,
    RunStarted,
    StepDone,
    Tracker,
    WeightsSaved,
)
from vedette.track.kept_files import KeptFiles

CLOSE_SECONDS = 30.0
"""How long a finished run waits for its trackers, all together."""

MAX_WAITING = 256
"""Events that wait for one tracker."""

MAX_WEIGHTS = 8
"""Checkpoints among them: each may hold a file of its own on the disk."""

_LEFT_OUT_FIRST = (StepDone, Note, PicturesFound, PicturesSaved, WeightsSaved, EpochDone)
"""What gives way when too much is waiting, in this order; begin and end of a run never do."""


class Background:
    """Feeds one tracker from a daemon thread.

    Args:
        tracker: used by that thread alone.
        name: what to call it in notes; default: its class.
        notes: what the tracker has to tell the people who watch the run; it may put in more at any time.
        abandon: called from another thread to end a tracker that does not come back.
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        name: str = "",
        notes: SimpleQueue[Note] | None = None,
        abandon: Callable[[], None] | None = None,
    ) -> None:
        self.name = name or type(tracker).__name__
        self._tracker = tracker
        self._notes: SimpleQueue[Note] = notes or SimpleQueue()
        self._abandon = abandon
        self._waiting: deque[Event] = deque()
        self._in_hand: Event | None = None
        self._changed = threading.Condition()
        self._lost: Counter[str] = Counter()
        self._closing = False
        self._off = False
        self._kept: KeptFiles | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracker {self.name}", daemon=True)

    def handle(self, event: Event) -> None:
        """Queue ``event``; returns at once."""
        with self._changed:
            if self._off or self._closing:
                return
            try:
                self._add(self._kept_version(event))
            except OSError:  # no room for a checkpoint of its own
                self._lost.update([type(event).__name__])
            self._changed.notify()
        self._start()

    def request_close(self) -> None:
        """Let the tracker close once it has handled what is waiting; returns at once."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._start()

    def wait_closed(self, seconds: float) -> None:
        """Wait for it, at most so long; then give the tracker up. ``request_close`` comes first."""
        self._thread.join(max(0.0, seconds))
        with self._changed:
            late = self._thread.is_alive() and not self._off
            if late:
                self._off = True
                left = [*([self._in_hand] if self._in_hand else []), *self._waiting]
                self._lost.update(type(event).__name__ for event in left if not isinstance(event, StepDone))
                self._warn(f"{self.name} was not done in time and was left behind{_listed(self._lost)}")
                self._release_waiting()
            elif self._lost and not self._off:
                self._warn(f"{self.name} did not get everything{_listed(self._lost)}")
        if late and self._abandon is not None:
            self._abandon()

    def close(self) -> None:
        """Close and wait."""
        self.request_close()
        self.wait_closed(CLOSE_SECONDS)

    def take_notes(self) -> list[Note]:
        """What there is to tell since the last call."""
        notes = []
        with contextlib.suppress(Empty):
            while True:
                notes.append(self._notes.get_nowait())
        return notes

    def _start(self) -> None:
        if self._thread.ident is None:
            self._thread.start()

    def _warn(self, text: str) -> None:
        self._notes.put(Note(text, "warning"))

    def _kept_version(self, event: Event) -> Event:
        if isinstance(event, RunStarted):
            self._kept = KeptFiles(event.folder / "tracking" / "kept")
            self._kept.clear()
        if isinstance(event, WeightsSaved) and self._kept is not None:
            return replace(event, path=self._kept.keep(event.path))
        return event

    def _add(self, event: Event) -> None:
        waiting = self._waiting
        if isinstance(event, StepDone) and waiting and isinstance(waiting[-1], StepDone):
            waiting[-1] = event  # only the newest progress is worth anything
            return
        waiting.append(event)
        if sum(isinstance(other, WeightsSaved) for other in waiting) > MAX_WEIGHTS:
            self._leave_out(WeightsSaved)
        if len(waiting) > MAX_WAITING:
            kinds = {type(other) for other in waiting}
            self._leave_out(next((kind for kind in _LEFT_OUT_FIRST if kind in kinds), StepDone))

    def _leave_out(self, kind: type[Event]) -> None:
        """Drop the oldest waiting event of a kind."""
        for place, event in enumerate(self._waiting):
            if isinstance(event, kind):
                del self._waiting[place]
                self._release(event)
                self._lost.update([] if kind is StepDone else [kind.__name__])
                return

    def _work(self) -> None:
        try:
            while (event := self._next()) is not None:
                try:
                    self._tracker.handle(event)
                finally:
                    self._release(event)
            self._tracker.close()
        except BaseException as error:  # nothing above this thread could take it
            self._switch_off(error)

    def _next(self) -> Event | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            self._in_hand = self._waiting.popleft() if self._waiting else None
            return self._in_hand

    def _switch_off(self, error: BaseException) -> None:
        with self._changed:
            if not self._off:
                self._off = True
                self._warn(f"{self.name} failed and was switched off ({type(error).__name__}: {error})")
            self._release_waiting()
        with contextlib.suppress(BaseException):
            self._tracker.close()

    def _release_waiting(self) -> None:
        while self._waiting:
            self._release(self._waiting.popleft())

    def _release(self, event: Event) -> None:
        if isinstance(event, WeightsSaved) and self._kept is not None:
            self._kept.release(event.path)


def in_background(tracker: Tracker) -> Tracker:
    """``tracker`` in a thread of its own, unless it wants the trainer's (``immediate``)."""
    wants_trainer = isinstance(tracker, Background) or getattr(tracker, "immediate", False)
    return tracker if wants_trainer else Background(tracker)


def close_together(trackers: list[Background], seconds: float | None = None) -> None:
    """Close all of them at the same time; ``seconds`` (``CLOSE_SECONDS``) is the limit for all together."""
    for tracker in trackers:
        tracker.request_close()
    end = time.monotonic() + (CLOSE_SECONDS if seconds is None else seconds)
    for tracker in trackers:
        tracker.wait_closed(end - time.monotonic())


def _listed(counts: Counter[str]) -> str:
    if not counts:
        return ""
    parts = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    return f" (not delivered: {parts})"
