"""Which prediction is about which true box, whatever their classes; what was missed, what was made up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.core.types import BoolArray, IntArray
from vedette.evaluate.match import Pairs, first_of_each, overlapping_pairs
from vedette.evaluate.packed import Float64Array, Predictions, Truth, keep_predictions


@dataclass(frozen=True, slots=True)
class Pairing:
    """What became of the boxes of a split.

    Attributes:
        predictions: those with a high enough score, N in all.
        matched: pairs of a prediction and a true box, each in at most one.
        missed: bool [M], true boxes without a prediction; never ignored ones.
        spurious: bool [N], predictions without a true box that lie on no ignored box either.
    """

    predictions: Predictions
    matched: Pairs
    missed: BoolArray
    spurious: BoolArray


@dataclass(frozen=True, slots=True)
class PictureCounts:
    """Boxes of each of n pictures, int64 [n] each.

    Attributes:
        right: found, with the right class.
        wrong_class: found, with another class.
        missed: true boxes that were not found.
        spurious: predictions where nothing is.
    """

    right: IntArray
    wrong_class: IntArray
    missed: IntArray
    spurious: IntArray

    @property
    def errors(self) -> IntArray:
        """Of all kinds."""
        return self.wrong_class + self.missed + self.spurious

    @property
    def f1(self) -> Float64Array:
        """Of each picture, float64 [n]; 1 where there was nothing to find and nothing was found."""
        total = 2 * (self.right + self.wrong_class) + self.missed + self.spurious
        f1: Float64Array = np.divide(2.0 * self.right, total, out=np.ones(len(total)), where=total > 0)
        return f1


def pair_boxes(predictions: Predictions, truth: Truth, confidence: float, iou_threshold: float) -> Pairing:
    """Pair predictions and true boxes one to one whatever their classes, the highest IoU first.

    Of equals the one of the right class goes first, then the higher score. A prediction without a true box
    counts for nothing if it lies on an ignored box.

    Args:
        predictions: those with a score of more than ``confidence`` take part.
        truth: the true boxes.
        confidence: 0..1.
        iou_threshold: pairs overlap by more than this.
    """
    predictions = keep_predictions(predictions, predictions.scores > confidence)
    pairs = overlapping_pairs(predictions, truth, max(iou_threshold, 1e-12))
    pairs = pairs.where(pairs.overlap > iou_threshold)
    crowd = truth.ignored[pairs.truth]
    on_ignored = np.zeros(len(predictions.scores), np.bool_)
    on_ignored[pairs.prediction[crowd]] = True
    matched = _one_to_one(pairs.where(~crowd), predictions, truth)
    missed = ~truth.ignored
    missed[matched.truth] = False
    spurious = ~on_ignored
    spurious[matched.prediction] = False
    return Pairing(predictions, matched, missed, spurious)


def count_by_picture(pairing: Pairing, truth: Truth) -> PictureCounts:
    """How each picture fared."""
    matched, pictures = pairing.matched, len(truth.image_ids)
    right = pairing.predictions.class_ids[matched.prediction] == truth.class_ids[matched.truth]
    image_of_truth, image_of_prediction = truth.image_rows(), pairing.predictions.image_rows()

    def count(images: IntArray) -> IntArray:
        return np.bincount(images, minlength=pictures).astype(np.int64)

    return PictureCounts(
        right=count(image_of_truth[matched.truth[right]]),
        wrong_class=count(image_of_truth[matched.truth[~right]]),
        missed=count(image_of_truth[pairing.missed]),
        spurious=count(image_of_prediction[pairing.spurious]),
    )


def _one_to_one(pairs: Pairs, predictions: Predictions, truth: Truth) -> Pairs:
    """The greedy pairing by falling IoU, found in rounds: pairs that are best for both sides are settled."""
    wrong = predictions.class_ids[pairs.prediction] != truth.class_ids[pairs.truth]
    scores = predictions.scores[pairs.prediction]
    pairs = pairs.where(np.lexsort((pairs.truth, pairs.prediction, -scores, wrong, -pairs.overlap)))
    settled = [pairs.where(np.zeros(0, np.int64))]
    while len(pairs.truth):
        best = np.intersect1d(first_positions(pairs.prediction), first_positions(pairs.truth))
        settled.append(pairs.where(best))
        pairs = pairs.where(
            ~np.isin(pairs.prediction, pairs.prediction[best]) & ~np.isin(pairs.truth, pairs.truth[best])
        )
    return Pairs(
        np.concatenate([part.prediction for part in settled]),
        np.concatenate([part.truth for part in settled]),
        np.concatenate([part.overlap for part in settled]),
    )


def first_positions(values: IntArray) -> IntArray:
    """Where each value occurs first."""
    order = np.argsort(values, kind="stable")
    return order[first_of_each(values[order])]
