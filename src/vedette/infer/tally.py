"""Counts and times of a detection run, and what is said of it at its end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vedette.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_SOME_FAILED
from vedette.infer.sources import Skipped
from vedette.infer.stream import PictureResult
from vedette.infer.video.live import SourceEvent
from vedette.infer.writers import error_text

_REMEMBERED_TIMES = 10_000


@dataclass(frozen=True, slots=True)
class StreamSummary:
    """What came from one stream.

    Attributes:
        path: its address, without passwords.
        frames: pictures that came.
        looked_at: pictures that went through the network; the others were replaced by newer ones, or left out by
            the stride.
        gaps: how often it was lost and came back.
        gap_seconds: how long it was away in all.
    """

    path: str
    frames: int = 0
    looked_at: int = 0
    gaps: int = 0
    gap_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class DetectSummary:
    """What a run did. ``pictures`` = those with results + ``failed``.

    Attributes:
        folder: where the results are.
        pictures: pictures, those of videos and streams too.
        detections: boxes found.
        class_counts: boxes by class name, most first; classes without boxes are absent.
        failed: pictures, videos and streams that could not be read, or not to their end.
        failures: their paths and what was wrong.
        skipped: entries of the source that are neither pictures nor videos, and why.
        seconds: wall-clock ``total``; and the time of each stage summed over pictures (``decode``, ``preprocess``,
            ``inference``, ``postprocess``, ``write``). Stages overlap, so their sum may exceed the total.
        percentiles_ms: of each stage (5, 50, 95) percentiles in milliseconds a picture, over the last 10,000.
        streams: one value a stream.
        interrupted: Ctrl-C ended the reading of streams; all results are written.
        track_counts: where objects were tracked, tracks by the class they began with, most first.
    """

    folder: Path
    pictures: int
    detections: int
    class_counts: Mapping[str, int]
    failed: int
    failures: tuple[tuple[str, str], ...]
    skipped: tuple[Skipped, ...]
    seconds: Mapping[str, float]
    percentiles_ms: Mapping[str, tuple[float, float, float]]
    streams: tuple[StreamSummary, ...] = ()
    interrupted: bool = False
    track_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0; 1 if something failed; 2 if there is no result at all; 130 if streams were interrupted."""
        if self.interrupted:
            return EXIT_INTERRUPTED
        if not self.failed:
            return EXIT_DONE
        return EXIT_REFUSED if self.failed == self.pictures else EXIT_SOME_FAILED


@dataclass(slots=True)
class _StreamTally:
    frames: int = 0
    looked_at: int = 0
    gaps: int = 0
    gap_seconds: float = 0.0

    def add_event(self, event: SourceEvent) -> None:
        self.frames = max(self.frames, event.frames)
        if event.kind == "recovered":
            self.gaps += 1
            self.gap_seconds += (event.gap_ms or 0.0) / 1000.0


@dataclass(slots=True)
class Tally:
    """Counts and times of a run so far; nothing is kept of a picture."""

    read: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)
    streams: dict[str, _StreamTally] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    recent: dict[str, deque[float]] = field(default_factory=dict)

    def add(self, result: PictureResult) -> None:
        """Count a result."""
        if result.error is not None:
            self.failures.append((result.item.path, error_text(result.error)))
        stream = self.streams.setdefault(result.item.path, _StreamTally()) if result.item.live else None
        if stream is not None and result.event is not None:
            stream.add_event(result.event)
        if result.detections is None:
            return
        self.read += 1
        if stream is not None and result.item.frame_index is not None:
            stream.looked_at += 1
            stream.frames = max(stream.frames, result.item.frame_index + 1)
        found = result.detections
        self.classes.update(found.class_names[int(number)] for number in found.class_ids)
        for stage, milliseconds in found.milliseconds.items():
            self.add_time(stage, milliseconds)

    def add_time(self, stage: str, milliseconds: float) -> None:
        """Count the time that one picture spent in a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + milliseconds / 1000.0
        self.recent.setdefault(stage, deque(maxlen=_REMEMBERED_TIMES)).append(milliseconds)

    def summary(
        self, folder: Path, skipped: tuple[Skipped, ...], total_seconds: float, interrupted: bool
    ) -> DetectSummary:
        """The summary of all that was counted."""
        return DetectSummary(
            folder=folder,
            pictures=self.read + len(self.failures),
            detections=sum(self.classes.values()),
            class_counts=dict(self.classes.most_common()),
            failed=len(self.failures),
            failures=tuple(self.failures),
            skipped=skipped,
            seconds={"total": total_seconds, **self.seconds},
            percentiles_ms={stage: _percentiles(times) for stage, times in self.recent.items()},
            streams=tuple(
                StreamSummary(path, one.frames, one.looked_at, one.gaps, one.gap_seconds)
                for path, one in self.streams.items()
            ),
            interrupted=interrupted,
        )


def _percentiles(times: deque[float]) -> tuple[float, float, float]:
    low, middle, high = np.percentile(np.fromiter(times, dtype=np.float64), (5, 50, 95))
    return float(low), float(middle), float(high)
