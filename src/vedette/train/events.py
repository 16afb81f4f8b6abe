"""Sends the events of a run to its trackers, and keeps the trackers' troubles away from the run."""

from __future__ import annotations

from collections.abc import Iterable

from vedette.track.events import Event, Note, Tracker


class Emitter:
    """Hands each event to every tracker. A tracker that raises is dropped, and the others are told."""

    def __init__(self, trackers: Iterable[Tracker]) -> None:
        self._trackers = list(trackers)

    def emit(self, event: Event) -> None:
        """Hand ``event`` to all trackers. Never raises for a tracker's sake."""
        for tracker in list(self._trackers):
            try:
                tracker.handle(event)
            except Exception as error:
                self._drop(tracker, error)

    def note(self, text: str, level: str = "info") -> None:
        """Emit a :class:`Note`."""
        self.emit(Note(text, level))

    def close(self) -> None:
        """Close all trackers; what one of them raises is reported to those still open."""
        while self._trackers:
            tracker = self._trackers.pop(0)
            try:
                tracker.close()
            except Exception as error:
                self.emit(Note(_complaint(tracker, error), "warning"))

    def _drop(self, tracker: Tracker, error: Exception) -> None:
        self._trackers.remove(tracker)
        self.emit(Note(_complaint(tracker, error), "warning"))


def _complaint(tracker: Tracker, error: Exception) -> str:
    return f"{type(tracker).__name__} failed and was switched off ({type(error).__name__}: {error})"
