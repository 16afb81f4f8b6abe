"""Sends the events of a run to its trackers, and keeps the trackers' troubles away from the run."""

from __future__ import annotations

from collections.abc import Iterable

from vedette.track.background import Background, close_together
from vedette.track.events import Event, Note, Tracker


class Emitter:
    """Hands each event to every tracker. A tracker that raises is dropped, and the others are told.

    Args:
        trackers: any number.
        own: those that write what the run is read by. They come first, and what they raise the run has to handle.
    """

    def __init__(self, trackers: Iterable[Tracker], *, own: Iterable[Tracker] = ()) -> None:
        self._own = list(own)
        self._trackers = [*self._own, *trackers]

    def emit(self, event: Event) -> None:
        """Hand ``event`` to all trackers. Raises only what one of the run's own raised, until :meth:`close`."""
        self._deliver(event)
        self._pass_on_notes()

    def note(self, text: str, level: str = "info") -> None:
        """Emit a :class:`Note`."""
        self.emit(Note(text, level))

    def close(self) -> None:
        """Close all trackers; what one of them raises is reported to those still open.

        Those in the background come first, all at the same time; what they then say is seen by the others.
        """
        self._own = []  # from here on nothing may hide how the run ended
        background = [tracker for tracker in self._trackers if isinstance(tracker, Background)]
        close_together(background)
        self._pass_on_notes()
        self._trackers = [tracker for tracker in self._trackers if tracker not in background]
        while self._trackers:
            tracker = self._trackers.pop(0)
            try:
                tracker.close()
            except Exception as error:
                self._deliver(Note(_complaint(tracker, error), "warning"))

    def _deliver(self, event: Event) -> None:
        for tracker in list(self._trackers):
            try:
                tracker.handle(event)
            except Exception as error:
                if tracker in self._own:
                    raise
                self._drop(tracker, error)

    def _pass_on_notes(self) -> None:
        """Tell all what the trackers in the background have to say."""
        for tracker in self._trackers:
            if isinstance(tracker, Background):
                for note in tracker.take_notes():
                    self._deliver(note)

    def _drop(self, tracker: Tracker, error: Exception) -> None:
        if tracker in self._trackers:
            self._trackers.remove(tracker)
        self._deliver(Note(_complaint(tracker, error), "warning"))


def _complaint(tracker: Tracker, error: Exception) -> str:
    return f"{type(tracker).__name__} failed and was switched off ({type(error).__name__}: {error})"
