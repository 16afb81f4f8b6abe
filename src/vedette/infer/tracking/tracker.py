"""Track ids for detections, frame by frame: two-stage association as in ByteTrack (Zhang et al., 2022).

1. Tracks are moved to where a filter of constant velocity expects them at the time of the frame.
2. Confirmed tracks, lost ones among them, are paired with the strong detections by overlap.
3. What is left of the tracks seen in the last frame is paired with the weak detections, which a half hidden object
   gives and background seldom gives there.
4. Tentative tracks are paired with what is left of the strong detections; then the rest of those start new tracks.

A track is *tentative* until it was seen in two frames running, then *confirmed*: it has an id. A confirmed track that
is not seen is *lost*; it comes back under its id, or is removed after a while.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, fields, replace

import numpy as np

from vedette.core.assignment import best_of_pairs
from vedette.core.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh
from vedette.core.types import BoolArray, Detections, FloatArray, IntArray, SizeHW
from vedette.errors import UsageError
from vedette.infer.tracking import kalman
from vedette.infer.tracking.kalman import Float64Array, Motion
from vedette.infer.tracking.overlap import overlapping_pairs

NO_TRACK = -1
"""Track id of a detection that belongs to no confirmed track."""

_INTERVALS = 9
"""So many last intervals between frames say how far frames are apart."""
_PATIENCE = 1.5
"""A track outlives so many usual intervals, however short its life out of sight is."""
_LONGEST_STEP_S = 100_000.0
"""Longer gaps count as this: after any of them everything is new, and numbers stay finite."""
_LARGEST_PX = 1e6

_BOUNDS: dict[str, tuple[float, float]] = {
    "high_threshold": (0.0, 1.0),
    "low_threshold": (0.0, 1.0),
    "lost_seconds": (0.0, 3600.0),
    "confirm_frames": (1, 1000),
    "frame_rate": (0.001, 100_000.0),
    "high_overlap": (0.0, 1.0),
    "low_overlap": (0.0, 1.0),
    "tentative_overlap": (0.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """How detections become tracks.

    Attributes:
        high_threshold: a detection with a score above it is strong: it may start a track. 0..1.
        low_threshold: a detection with a score above it, but not above ``high_threshold``, is weak: it may go on with
            a track that was seen in the last frame. Others are left without a track. 0..1.
        lost_seconds: a track that is not seen for longer is removed. 0..3600.
        confirm_frames: a track has an id from this many frames running on; in the first frame at once. 1..1000.
        class_aware: a track is of one class; else it may change its class.
        frame_rate: frames a second where frames come without a time. 0.001..100000.
        high_overlap: a pair of a confirmed track and a strong detection has an IoU above this. 0..1.
        low_overlap: the same of a weak detection.
        tentative_overlap: the same of a tentative track and a strong detection.

    Raises:
        UsageError: a value is out of range, or the low threshold is above the high one.
    """

    high_threshold: float = 0.25
    low_threshold: float = 0.1
    lost_seconds: float = 1.0
    confirm_frames: int = 2
    class_aware: bool = True
    frame_rate: float = 30.0
    high_overlap: float = 0.2
    low_overlap: float = 0.5
    tentative_overlap: float = 0.3

    def __post_init__(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(
                    f"{getattr(self, name)} is not between {least:g} and {most:g}", where=f"tracking.{name}"
                )
        if self.low_threshold > self.high_threshold:
            raise UsageError(
                f"{self.low_threshold} is above the high threshold {self.high_threshold}",
                where="tracking.low_threshold",
                fix="lower it, or raise the high threshold",
            )


@dataclass(frozen=True, slots=True)
class _Tracks:
    """The living tracks; K rows each.

    Attributes:
        motion: where they are and go.
        ids: int64, from 1; 0 while tentative.
        class_ids: int64.
        hits: int64, frames they were seen in.
        seen: float64, seconds of the last of those.
        lost: bool, not seen in the last frame.
    """

    motion: Motion
    ids: IntArray
    class_ids: IntArray
    hits: IntArray
    seen: Float64Array
    lost: BoolArray

    def __len__(self) -> int:
        return len(self.ids)

    def chosen(self, rows: IntArray | BoolArray) -> _Tracks:
        columns = (getattr(self, field.name)[rows] for field in fields(self)[1:])
        return _Tracks(self.motion.chosen(rows), *columns)

    def joined(self, other: _Tracks) -> _Tracks:
        columns = (
            np.concatenate((getattr(self, field.name), getattr(other, field.name)))
            for field in fields(self)[1:]
        )
        return _Tracks(self.motion.joined(other.motion), *columns)


class ObjectTracker:
    """Follows the objects of one source. Not for several threads at once.

    Args:
        settings: how detections become tracks.
    """

    def __init__(self, settings: TrackingSettings | None = None) -> None:
        self.settings = settings or TrackingSettings()
        self.reset()

    def reset(self) -> None:
        """Forget everything, as for another source: ids start at 1 again."""
        self._clock = _Clock(self.settings.frame_rate)
        self._tracks = _started(np.zeros((0, 4)), np.zeros(0, dtype=np.int64), 0.0)
        self._next_id = 1
        self._first = True
        self._size_hw: SizeHW | None = None

    @property
    def seconds(self) -> float:
        """Time of the last frame, from an arbitrary moment before the first."""
        return self._clock.now

    def skip(self) -> None:
        """Count a frame of which nothing is known; for frames without a time."""
        self._clock.skip()

    def update(self, detections: Detections, time_ms: float | None = None) -> Detections:
        """The detections of the next frame with their ``track_ids``; :data:`NO_TRACK` where there is none.

        Args:
            detections: of the frame, in any order; all are returned, in that order. Let the detector keep boxes down
                to ``settings.low_threshold``.
            time_ms: when the frame was taken; None: one frame after the last. A time that is not after the last one
                counts as one frame, too. Frames may be missing and intervals may differ.

        Raises:
            UsageError: a box, score or time is not a number.
        """
        boxes = _measured(detections)
        seconds = self._clock.advance(time_ms)
        if detections.size_hw != self._size_hw:  # pixels of another picture say nothing about these
            self._tracks = self._tracks.chosen(np.zeros(len(self._tracks), dtype=np.bool_))
            self._size_hw = detections.size_hw
        self._expect(seconds)
        track_of = self._associate(detections)
        self._correct(detections, boxes, track_of)
        self._start(detections, boxes, track_of)
        ids: IntArray = np.full(len(detections), NO_TRACK, dtype=np.int64)
        confirmed = track_of >= 0
        confirmed[confirmed] = self._tracks.ids[track_of[confirmed]] > 0
        ids[confirmed] = self._tracks.ids[track_of[confirmed]]
        alive = ~self._tracks.lost | (self._tracks.ids > 0)  # tentative ones have one chance
        self._tracks = self._tracks.chosen(alive)
        return replace(detections, track_ids=ids)

    def _expect(self, seconds: float) -> None:
        """Remove tracks that were not seen for too long, and move the others ``seconds`` on."""
        lifetime = max(self.settings.lost_seconds, _PATIENCE * self._clock.usual_interval)
        tracks = self._tracks.chosen(self._clock.now - self._tracks.seen <= lifetime)
        self._tracks = replace(tracks, motion=kalman.predicted(tracks.motion, seconds))

    def _associate(self, detections: Detections) -> IntArray:
        """The row of the track of each detection, int64 [N], -1 for none."""
        settings, tracks = self.settings, self._tracks
        strong = detections.scores > settings.high_threshold
        weak = ~strong & (detections.scores > settings.low_threshold)
        confirmed = tracks.ids > 0
        track_of: IntArray = np.full(len(detections), -1, dtype=np.int64)
        seen = np.zeros(len(tracks), dtype=np.bool_)
        rows, numbers, overlap = self._overlapping(detections)
        for candidates, wanted, least in (
            (confirmed, strong, settings.high_overlap),
            (confirmed & ~tracks.lost, weak, settings.low_overlap),
            (~confirmed, strong, settings.tentative_overlap),
        ):
            possible = np.flatnonzero(
                (overlap > least) & (candidates & ~seen)[rows] & (wanted & (track_of < 0))[numbers]
            )
            taken = possible[best_of_pairs(rows[possible], numbers[possible], overlap[possible] - least)]
            track_of[numbers[taken]] = rows[taken]
            seen[rows[taken]] = True
        return track_of

    def _overlapping(self, detections: Detections) -> tuple[IntArray, IntArray, FloatArray]:
        """Rows of tracks, rows of detections and the IoU of the pairs that overlap and may belong together."""
        expected = cxcywh_to_xyxy(self._tracks.motion.position).astype(np.float32)
        rows, numbers, overlap = overlapping_pairs(
            expected, detections.boxes_xyxy_px.astype(np.float32, copy=False)
        )
        if self.settings.class_aware:
            same = self._tracks.class_ids[rows] == detections.class_ids[numbers]
            rows, numbers, overlap = rows[same], numbers[same], overlap[same]
        return rows, numbers, overlap

    def _correct(self, detections: Detections, boxes_cxcywh: Float64Array, track_of: IntArray) -> None:
        """Enter what was seen of the tracks, and confirm those that were seen often enough."""
        numbers = np.flatnonzero(track_of >= 0)
        rows, tracks = track_of[numbers], self._tracks
        hits, seen, class_ids = tracks.hits.copy(), tracks.seen.copy(), tracks.class_ids.copy()
        hits[rows] += 1
        seen[rows] = self._clock.now
        class_ids[rows] = detections.class_ids[numbers]
        lost = np.ones(len(tracks), dtype=np.bool_)
        lost[rows] = False
        motion = kalman.of_steady_size(kalman.corrected(tracks.motion, rows, boxes_cxcywh[numbers]), lost)
        fresh = (tracks.ids == 0) & ~lost & (hits >= self.settings.confirm_frames)
        self._tracks = _Tracks(motion, self._numbered(tracks.ids, fresh), class_ids, hits, seen, lost)

    def _start(self, detections: Detections, boxes_cxcywh: Float64Array, track_of: IntArray) -> None:
        """New tracks for strong detections that belong to none; enters their rows into ``track_of``."""
        numbers = np.flatnonzero((track_of < 0) & (detections.scores > self.settings.high_threshold))
        track_of[numbers] = len(self._tracks) + np.arange(len(numbers))
        new = _started(boxes_cxcywh[numbers], detections.class_ids[numbers], self._clock.now)
        at_once = np.full(len(new), self._first or self.settings.confirm_frames == 1)
        self._tracks = self._tracks.joined(replace(new, ids=self._numbered(new.ids, at_once)))
        self._first = False

    def _numbered(self, ids: IntArray, fresh: BoolArray) -> IntArray:
        """The ids, with the next free ones for ``fresh`` tracks."""
        numbered: IntArray = ids.copy()
        count = int(fresh.sum())
        numbered[fresh] = np.arange(self._next_id, self._next_id + count)
        self._next_id += count
        return numbered


class _Clock:
    """Time of the frames of one source, in seconds that never go back."""

    def __init__(self, frame_rate: float) -> None:
        self.now = 0.0
        self._interval = 1.0 / frame_rate
        self._last_ms: float | None = None
        self._started = False
        self._skipped = 0
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)

    @property
    def usual_interval(self) -> float:
        """Median of the last intervals, without the one that led here."""
        earlier = list(self._intervals)[:-1]
        return statistics.median(earlier) if earlier else float("inf")

    def skip(self) -> None:
        self._skipped += 1

    def advance(self, time_ms: float | None) -> float:
        """Go on to the next frame; returns the seconds since the last one. Raises UsageError."""
        if time_ms is not None and not np.isfinite(time_ms):
            raise UsageError(
                f"{time_ms} is no time of a frame", where="time_ms", fix="give milliseconds, or None"
            )
        step = self._interval * (1 + self._skipped)
        if time_ms is not None and self._last_ms is not None and time_ms > self._last_ms:
            step = min((time_ms - self._last_ms) / 1000.0, _LONGEST_STEP_S)
        if self._started:
            self._intervals.append(step)
        self._last_ms, self._started, self._skipped = time_ms, True, 0
        self.now += step
        return step


def _measured(detections: Detections) -> Float64Array:
    """Centre and size of the boxes, float64 [N, 4]. Raises UsageError."""
    boxes: Float64Array = detections.boxes_xyxy_px.astype(np.float64).reshape(-1, 4)
    if not ((np.abs(boxes) <= _LARGEST_PX).all() and np.isfinite(detections.scores).all()):
        raise UsageError(
            f"a box or score to track is not a number, or beyond {_LARGEST_PX:,.0f} pixels",
            where=detections.path,
            fix="drop such detections first",
        )
    return xyxy_to_cxcywh(boxes)


def _started(boxes_cxcywh: Float64Array, class_ids: IntArray, now: float) -> _Tracks:
    """Tentative tracks of boxes seen for the first time."""
    count = len(class_ids)
    return _Tracks(
        motion=kalman.started(boxes_cxcywh),
        ids=np.zeros(count, dtype=np.int64),
        class_ids=class_ids,
        hits=np.ones(count, dtype=np.int64),
        seen=np.full(count, now),
        lost=np.zeros(count, dtype=np.bool_),
    )
