"""The paths that tracked objects have taken lately, and how they are drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from vedette.core.boxes import xyxy_to_cxcywh
from vedette.core.colours import text_colour, track_colour
from vedette.core.types import Detections, FloatArray, Image

_MOST_POINTS = 240
"""Of one trail; a fast camera adds no more."""
_SHIFT = 4
"""OpenCV takes points in 1/16 pixel."""
_FARTHEST_PX = 30_000
"""Beyond it OpenCV's coordinates in parts of pixels would not fit; nobody sees it."""


@dataclass(frozen=True, slots=True)
class Trail:
    """Where the box of one track was.

    Attributes:
        track_id: which.
        points_xy_px: float32 [k, 2], centres of its boxes, oldest first; k at least 2.
    """

    track_id: int
    points_xy_px: FloatArray


@dataclass(slots=True)
class Trails:
    """Remembers the tracks of one source that were seen within the last ``seconds``; nothing for 0."""

    seconds: float
    _points: dict[int, deque[tuple[float, float, float]]] = field(default_factory=dict)

    def after(self, detections: Detections, now: float) -> tuple[Trail, ...]:
        """The trails of the tracks in a new frame, after adding its boxes; ``now`` in seconds."""
        if not self.seconds or detections.track_ids is None:
            return ()
        centres = xyxy_to_cxcywh(detections.boxes_xyxy_px)[:, :2]
        ids = [int(number) for number in detections.track_ids]
        for track_id, (x, y) in zip(ids, centres.tolist(), strict=True):
            if track_id >= 0:
                self._points.setdefault(track_id, deque(maxlen=_MOST_POINTS)).append((now, x, y))
        for track_id, points in list(self._points.items()):
            while points and points[0][0] < now - self.seconds:
                points.popleft()
            if not points:
                del self._points[track_id]
        return tuple(
            Trail(track_id, np.array([point[1:] for point in self._points[track_id]], dtype=np.float32))
            for track_id in ids
            if len(self._points.get(track_id, ())) > 1
        )


def draw_trails(canvas: Image, trails: Sequence[Trail], line_width: int) -> None:
    """Draw trails into a picture, RGB uint8 [H, W, 3], in the colours of their tracks, the older half thinner."""
    for trail in trails:
        points = np.clip(trail.points_xy_px, -_FARTHEST_PX, _FARTHEST_PX)
        fixed = np.round(points * 2**_SHIFT).astype(np.int32)
        middle = len(fixed) // 2
        colour = track_colour(trail.track_id)
        older = (fixed[: middle + 1], max(line_width // 2, 2))
        for part, width in (older, (fixed[middle:], line_width)):
            cv2.polylines(canvas, [part], False, text_colour(colour), width + 2, cv2.LINE_AA, _SHIFT)
            cv2.polylines(canvas, [part], False, colour, width, cv2.LINE_AA, _SHIFT)
