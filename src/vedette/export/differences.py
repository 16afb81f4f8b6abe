"""How much two sets of final detections differ, and how much they may."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vedette.core.nms import pairwise_iou
from vedette.core.types import Detections, FloatArray

_SAME_OBJECT = 0.5
"""Overlap from which two boxes of a class are taken for the same one."""

_MARGIN_PX = 0.5
"""Boxes are compared with this margin: of a sliver at the edge of a picture, a hundredth of a pixel is a large part."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What an exported file may differ by from PyTorch in float32.

    Suppression makes a yes or no of small numbers: in coarse arithmetic, of two boxes with almost the same score now
    and then the other one stays. So few boxes may differ by any amount, and the others by little.

    Attributes:
        min_overlap: least overlap (IoU, with half a pixel of margin) of a box with PyTorch's.
        max_score: greatest difference of scores.
        max_differing: greatest share of boxes that differ by more, or that only one of both finds; of few boxes, the
            nearest whole number. A box that only one finds, with a score within ``max_score`` of the threshold, does
            not count.
        max_ap: greatest change of AP, 0..1.
        max_feature: greatest difference of a map of a layer, as of
            :meth:`vedette.checkpoint.feature_maps.ExpectedMap.difference`.
    """

    min_overlap: float
    max_score: float
    max_differing: float
    max_ap: float
    max_feature: float = 0.001


TOLERANCES = {
    "float32": Tolerance(min_overlap=0.99, max_score=0.005, max_differing=0.001, max_ap=0.001),
    "fp16": Tolerance(min_overlap=0.95, max_score=0.02, max_differing=0.01, max_ap=0.003, max_feature=0.02),
    "bf16": Tolerance(min_overlap=0.85, max_score=0.10, max_differing=0.05, max_ap=0.01, max_feature=0.1),
    "int8": Tolerance(min_overlap=0.60, max_score=0.25, max_differing=0.15, max_ap=0.03, max_feature=0.2),
}
"""By number format, the finest first; about twice what was measured on several detectors, see docs/export.md."""


def tolerance_for(*precisions: str) -> Tolerance:
    """The tolerance of the coarsest of some number formats."""
    return [TOLERANCES[name] for name in TOLERANCES if name in precisions][-1]


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """Final detections of one picture, in its pixels.

    Attributes:
        boxes_xyxy_px: float32 [n, 4].
        scores: float32 [n].
        class_names: n names.
    """

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, found: Detections) -> FoundBoxes:
        """The same, of detections."""
        names = tuple(found.class_names[int(number)] for number in found.class_ids)
        return cls(found.boxes_xyxy_px, found.scores, names)

    def chosen(self, rows: Any) -> FoundBoxes:
        """Some of the boxes, by mask."""
        names = tuple(name for name, wanted in zip(self.class_names, rows, strict=True) if wanted)
        return FoundBoxes(self.boxes_xyxy_px[rows], self.scores[rows], names)


@dataclass(frozen=True, slots=True)
class Differences:
    """How two sets of detections differ over pictures.

    Attributes:
        pictures: compared.
        boxes: pairs of boxes compared, and unmatched ones.
        unmatched: boxes that only one of both has, not near the threshold.
        differing: these, and pairs that differ by more than the tolerance.
        box_px: greatest difference of a coordinate, pixels of the picture.
        overlap: least overlap of a pair.
        score: greatest difference of scores.
    """

    pictures: int = 0
    boxes: int = 0
    unmatched: int = 0
    differing: int = 0
    box_px: float = 0.0
    overlap: float = 1.0
    score: float = 0.0

    def __add__(self, other: Differences) -> Differences:
        return Differences(
            self.pictures + other.pictures,
            self.boxes + other.boxes,
            self.unmatched + other.unmatched,
            self.differing + other.differing,
            max(self.box_px, other.box_px),
            min(self.overlap, other.overlap),
            max(self.score, other.score),
        )

    def problems(self, tolerance: Tolerance, where: str) -> list[str]:
        """What is beyond the tolerance, in words."""
        if self.differing <= round(tolerance.max_differing * self.boxes):
            return []
        return [
            f"{where}: {self.differing} of {self.boxes} boxes differ ({self.unmatched} are found by one of both only; "
            f"least overlap {self.overlap:.4f}, allowed {tolerance.min_overlap:g}; "
            f"greatest difference of scores {self.score:.4f}, allowed {tolerance.max_score:g})"
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def compare(
    expected: Sequence[FoundBoxes],
    found: Sequence[FoundBoxes],
    *,
    conf_threshold: float,
    max_detections: int,
    tolerance: Tolerance,
) -> Differences:
    """Pair the boxes of pictures and measure how far the pairs differ.

    Args:
        expected: of PyTorch, one value a picture, above ``conf_threshold``.
        found: of the exported file, likewise.
        conf_threshold: of both.
        max_detections: of both; in a picture with so many, the score of the last is the threshold.
        tolerance: a box is near the threshold within its ``max_score``.
    """
    total = Differences()
    for first, second in zip(expected, found, strict=True):
        full = len(first.scores) >= max_detections
        threshold = max(conf_threshold, float(first.scores.min())) if full else conf_threshold
        total += _compare_picture(first, second, threshold, tolerance)
    return total


def _compare_picture(
    expected: FoundBoxes, found: FoundBoxes, threshold: float, tolerance: Tolerance
) -> Differences:
    pairs = _pairs(expected, found)
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    above = threshold + tolerance.max_score
    unmatched = _counted(expected.scores, rows, above) + _counted(found.scores, columns, above)
    result = Differences(1, len(pairs) + unmatched, unmatched, unmatched)
    if not pairs:
        return result
    boxes, others = expected.boxes_xyxy_px[rows], found.boxes_xyxy_px[columns]
    overlap = np.diagonal(_overlaps(boxes, others))
    score = np.abs(expected.scores[rows] - found.scores[columns])
    beyond = (overlap < tolerance.min_overlap) | (score > tolerance.max_score)
    return replace(
        result,
        differing=unmatched + int(beyond.sum()),
        box_px=float(np.abs(boxes - others).max()),
        overlap=float(overlap.min()),
        score=float(score.max()),
    )


def _overlaps(first: FloatArray, second: FloatArray) -> FloatArray:
    """IoU of boxes with their margins: [n, 4] and [m, 4] to [n, m]."""
    margin = np.array([-_MARGIN_PX, -_MARGIN_PX, _MARGIN_PX, _MARGIN_PX], np.float32)
    return pairwise_iou(first + margin, second + margin)


def _pairs(expected: FoundBoxes, found: FoundBoxes) -> list[tuple[int, int]]:
    """Boxes of one class that overlap enough, one to one, the greatest overlap first."""
    overlap = _overlaps(expected.boxes_xyxy_px, found.boxes_xyxy_px)
    names, others = (np.array(boxes.class_names, dtype=str) for boxes in (expected, found))
    overlap[names[:, None] != others[None, :]] = 0.0
    pairs: list[tuple[int, int]] = []
    # Of equal overlaps (two boxes in one place) the better scores go together.
    rows, columns = set[int](), set[int]()
    for place in np.argsort(-overlap, axis=None, kind="stable"):
        row, column = divmod(int(place), overlap.shape[1])
        if overlap[row, column] < _SAME_OBJECT:
            break
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs


def _counted(scores: FloatArray, matched: Iterable[int], above: float) -> int:
    """Boxes that have no partner and are not near the threshold."""
    alone = np.ones(len(scores), np.bool_)
    alone[np.asarray(matched, dtype=np.int64)] = False
    return int((alone & (scores > above)).sum())
