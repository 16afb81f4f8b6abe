"""Which prediction found which true box: COCO's rule and the reference's.

Both work on the packed arrays of a whole split. The pairs of boxes that overlap are found picture by picture;
everything after that is done for all pictures at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.core.nms import pairwise_iou
from vedette.core.types import BoolArray, IntArray
from vedette.evaluate.packed import Float64Array, Predictions, Truth

YOLOV5_THRESHOLDS = np.linspace(0.5, 0.95, 10).astype(np.float32)
"""IoU thresholds 0.50, 0.55 ... 0.95 in float32, as the reference compares them (evaluation.md section 3)."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Overlapping boxes: rows into the packed predictions and truth, sorted by prediction, then truth.

    Attributes:
        prediction: int64 [K].
        truth: int64 [K].
        overlap: float64 [K]: IoU; for an ignored true box the part of the prediction that lies in it.
    """

    prediction: IntArray
    truth: IntArray
    overlap: Float64Array

    def where(self, kept: BoolArray | IntArray) -> Pairs:
        """The chosen pairs, by mask or by number."""
        return Pairs(self.prediction[kept], self.truth[kept], self.overlap[kept])


@dataclass(frozen=True, slots=True)
class Matches:
    """What became of every prediction.

    Attributes:
        truth: int64 [N]: the row of the true box it found, or -1.
        ignored: bool [N]: it found an ignored box, so it is neither right nor wrong.
    """

    truth: IntArray
    ignored: BoolArray

    @property
    def correct(self) -> BoolArray:
        """True positives, bool [N]."""
        return (self.truth >= 0) & ~self.ignored


def overlapping_pairs(
    predictions: Predictions, truth: Truth, minimum: float, dtype: type[np.floating[Any]] = np.float64
) -> Pairs:
    """All pairs of one picture whose overlap is at least ``minimum`` (> 0), of whatever classes.

    The overlap with an ignored box is intersection / area of the prediction (COCO's rule for crowds).
    """
    parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    occupied = (np.diff(predictions.offsets) > 0) & (np.diff(truth.offsets) > 0)
    for image in np.flatnonzero(occupied):
        first, last = predictions.offsets[image : image + 2]
        truth_first, truth_last = truth.offsets[image : image + 2]
        found: NDArray[Any] = predictions.boxes_xyxy_px[first:last].astype(dtype)
        wanted: NDArray[Any] = truth.boxes_xyxy_px[truth_first:truth_last].astype(dtype)
        overlap = pairwise_iou(found, wanted).astype(np.float64)  # [n, m]
        crowd = truth.ignored[truth_first:truth_last]
        if crowd.any():
            overlap[:, crowd] = _covered_part(overlap[:, crowd], found, wanted[crowd])
        rows, columns = np.nonzero(overlap >= minimum)
        parts.append(Pairs(rows + first, columns + truth_first, overlap[rows, columns]))
    return Pairs(
        np.concatenate([part.prediction for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.overlap for part in parts]),
    )


def _covered_part(iou: Float64Array, found: NDArray[Any], wanted: NDArray[Any]) -> Float64Array:
    """Intersection / area of the prediction from the IoU: i = u (a + b) / (1 + u)."""
    area = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])
    wanted_area = (wanted[:, 2] - wanted[:, 0]) * (wanted[:, 3] - wanted[:, 1])
    area_n1 = area.astype(np.float64)[:, None]
    intersection = iou * (area_n1 + wanted_area.astype(np.float64)) / (1.0 + iou)
    covered: Float64Array = np.divide(
        intersection, area_n1, out=np.zeros_like(intersection), where=np.broadcast_to(area_n1 > 0, iou.shape)
    )
    return covered


def match_coco(predictions: Predictions, truth: Truth, iou_threshold: float = 0.5) -> Matches:
    """COCO's matching at one threshold, over all areas.

    In each picture and class the predictions choose in the order of their scores: the free true box with the
    highest IoU of at least the threshold (the later one of equals); failing that, an ignored box, which may be
    chosen again. Equal to pycocotools' ``evaluateImg`` for the first 100 predictions of a picture and class.
    """
    pairs = overlapping_pairs(predictions, truth, min(iou_threshold, 1 - 1e-10))
    pairs = pairs.where(predictions.class_ids[pairs.prediction] == truth.class_ids[pairs.truth])
    result = Matches(np.full(len(predictions.scores), -1), np.zeros(len(predictions.scores), np.bool_))
    turn = _turns(predictions, np.unique(pairs.prediction))[pairs.prediction]
    crowd = truth.ignored[pairs.truth]
    order = np.lexsort((-pairs.truth, -pairs.overlap, crowd, pairs.prediction, turn))
    pairs, turn, crowd = pairs.where(order), turn[order], crowd[order]
    taken = np.zeros(len(truth.class_ids), np.bool_)
    bounds = np.searchsorted(turn, np.arange(turn[-1] + 2)) if len(turn) else np.zeros(1, np.int64)
    # All predictions that have the same turn belong to different pictures or classes: they cannot collide.
    for first, last in pairwise(bounds):
        free = first + np.flatnonzero(~taken[pairs.truth[first:last]] | crowd[first:last])
        best = free[first_of_each(pairs.prediction[free])]
        result.truth[pairs.prediction[best]] = pairs.truth[best]
        result.ignored[pairs.prediction[best]] = crowd[best]
        taken[pairs.truth[best]] = True
    return result


def _turns(predictions: Predictions, rows: IntArray) -> IntArray:
    """For the given rows their place by score within picture and class, 0 first; int64 [N]."""
    turns = np.zeros(len(predictions.scores), np.int64)
    group = np.stack([predictions.image_rows()[rows], predictions.class_ids[rows]])
    order = np.lexsort((rows, -predictions.scores[rows], group[1], group[0]))
    place = np.arange(len(rows))
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (np.diff(group[:, order], axis=1) != 0).any(axis=0)
    turns[rows[order]] = place - np.maximum.accumulate(np.where(is_first, place, 0))
    return turns


def first_of_each(sorted_values: IntArray) -> IntArray:
    """Positions where a new value starts in a sorted array."""
    starts = np.ones(len(sorted_values), np.bool_)
    starts[1:] = np.diff(sorted_values) != 0
    return np.flatnonzero(starts)


def match_yolov5(predictions: Predictions, truth: Truth) -> BoolArray:
    """The reference's matching: true positives at ten thresholds, bool [N, 10] (evaluation.md section 3).

    Every prediction looks only at its best true box of its class; the first one in order of score that
    overlaps it by more than 0.5 (strictly, float32) takes it, and counts at every threshold below its IoU.
    Ignored boxes do not exist in this rule: leave them out of ``truth``.
    """
    pairs = overlapping_pairs(predictions, truth, 0.5, np.float32)
    pairs = pairs.where(predictions.class_ids[pairs.prediction] == truth.class_ids[pairs.truth])
    order = np.lexsort((pairs.truth, -pairs.overlap, pairs.prediction))
    best = pairs.where(order[first_of_each(pairs.prediction[order])])
    best = best.where(best.overlap > 0.5)
    order = np.lexsort((best.prediction, best.truth))
    winner = best.where(order[first_of_each(best.truth[order])])
    correct = np.zeros((len(predictions.scores), len(YOLOV5_THRESHOLDS)), np.bool_)
    correct[winner.prediction] = winner.overlap.astype(np.float32)[:, None] > YOLOV5_THRESHOLDS
    return correct
