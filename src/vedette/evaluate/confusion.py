"""Confusion matrix of detections: which true class was predicted as which, with a background row and column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vedette.core.types import BoolArray, IntArray
from vedette.evaluate.match import Pairs, overlapping_pairs
from vedette.evaluate.packed import Float64Array, Predictions, Truth, keep_predictions
from vedette.evaluate.pairing import first_positions, pair_boxes

BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class ConfusionMatrix:
    """Counts [C + 1, C + 1]: rows are true classes, columns predicted ones; the last of both is background.

    The background column counts true boxes that were missed, the background row boxes predicted where
    nothing is. The corner of both is always 0.

    Attributes:
        counts: int64 [C + 1, C + 1].
        class_names: names of the C classes.
        confidence: boxes take part whose score is more than this, as in detection.
        iou_threshold: a prediction is about a true box if their IoU is more than this.
    """

    counts: IntArray
    class_names: tuple[str, ...]
    confidence: float
    iou_threshold: float

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the rows and of the columns."""
        return (*self.class_names, BACKGROUND)

    def normalised(self) -> Float64Array:
        """Each row divided by its sum: what became of the true boxes of a class. Rows of zeros stay zero."""
        sums = self.counts.sum(axis=1, keepdims=True)
        return self.counts / np.maximum(sums, 1)  # type: ignore[no-any-return]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, axes named."""
        return {
            "rows_true": list(self.axis_names),
            "columns_predicted": list(self.axis_names),
            "counts": self.counts.tolist(),
            "confidence": self.confidence,
            "iou_threshold": self.iou_threshold,
        }


def confusion_matrix(
    predictions: Predictions,
    truth: Truth,
    class_names: Sequence[str],
    confidence: float = 0.25,
    iou_threshold: float = 0.45,
) -> ConfusionMatrix:
    """Count every picture, those without true boxes or without predictions too; see ``pair_boxes``."""
    pairing = pair_boxes(predictions, truth, confidence, iou_threshold)
    counts = _count(
        pairing.predictions, truth, pairing.matched, pairing.missed, pairing.spurious, len(class_names)
    )
    return ConfusionMatrix(counts, tuple(class_names), confidence, iou_threshold)


def _count(
    predictions: Predictions,
    truth: Truth,
    matched: Pairs,
    missed: BoolArray,
    spurious: BoolArray,
    classes: int,
) -> IntArray:
    """Counts [C + 1, C + 1] of pairs, missed true boxes [M] and predictions of nothing [N]."""
    side = classes + 1
    cells = truth.class_ids[matched.truth] * side + predictions.class_ids[matched.prediction]
    counts = np.bincount(cells, minlength=side * side).reshape(side, side)
    counts[:, classes] += np.bincount(truth.class_ids[missed], minlength=side)
    counts[classes] += np.bincount(predictions.class_ids[spurious], minlength=side)
    return counts


def confusion_yolov5(
    predictions: Predictions,
    truth: Truth,
    classes: int,
    confidence: float = 0.25,
    iou_threshold: float = 0.45,
) -> IntArray:
    """The counts of the reference, omissions included (evaluation.md section 5), [C + 1, C + 1].

    Unlike ``confusion_matrix``: pictures without true boxes or without predictions are skipped, predictions
    in the wrong place count only in pictures where some other one found a box, and a true box whose best
    prediction overlaps another one more goes without.
    """
    seen = (np.diff(predictions.offsets) > 0) & (np.diff(truth.offsets) > 0)
    predictions = keep_predictions(predictions, predictions.scores > confidence)
    pairs = overlapping_pairs(predictions, truth, max(iou_threshold, 1e-12), np.float32)
    pairs = pairs.where(pairs.overlap > np.float32(iou_threshold))
    pairs = pairs.where(np.lexsort((pairs.truth, pairs.prediction, -pairs.overlap)))
    pairs = pairs.where(np.sort(first_positions(pairs.prediction)))
    pairs = pairs.where(first_positions(pairs.truth))
    missed = seen[truth.image_rows()]
    missed[pairs.truth] = False
    images = predictions.image_rows()
    with_match = np.zeros(len(seen), np.bool_)
    with_match[images[pairs.prediction]] = True
    spurious = with_match[images]
    spurious[pairs.prediction] = False
    return _count(predictions, truth, pairs, missed, spurious, classes)
