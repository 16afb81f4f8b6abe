"""Precision, recall and F1 over the score, the best operating point, and the reference's own AP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vedette.core.types import BoolArray, IntArray
from vedette.evaluate.match import Matches
from vedette.evaluate.packed import Float64Array, Predictions

CONFIDENCE_GRID = np.linspace(0.0, 1.0, 1001)
"""Scores at which the curves are given."""

_REFERENCE_CONFIDENCE = 0.1
"""Score at which the reference reads precision and recall (evaluation.md section 4)."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision, recall and F1 of every class, counting boxes with at least a given score (IoU 0.5).

    NaN: recall and F1 of a class without true boxes; precision where no box has that score.

    Attributes:
        confidence: float64 [G].
        precision: float64 [C, G].
        recall: float64 [C, G].
        f1: float64 [C, G].
        recall_levels: float64 [R], for ``precision_at_recall``.
        precision_at_recall: float64 [C, R]: the interpolated precision that AP50 is the mean of.
    """

    confidence: Float64Array
    precision: Float64Array
    recall: Float64Array
    f1: Float64Array
    recall_levels: Float64Array
    precision_at_recall: Float64Array

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: lists, None for NaN."""
        return {name: _json_list(getattr(self, name)) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one gets by keeping the boxes with at least the score ``confidence``; None: undefined."""

    confidence: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def _json_list(values: Float64Array) -> list[Any]:
    items = values.astype(object)
    items[np.isnan(values)] = None
    result: list[Any] = items.tolist()
    return result


def confidence_curves(
    predictions: Predictions,
    matches: Matches,
    instances: IntArray,
    precision_at_recall: Float64Array,
) -> tuple[Curves, tuple[OperatingPoint, ...]]:
    """The curves, and for each class the point of its best F1 (the highest score of equals).

    Args:
        predictions: boxes of the split.
        matches: their matching at IoU 0.5; boxes that found an ignored one count neither way.
        instances: int64 [C], true boxes of each class.
        precision_at_recall: float64 [C, R], kept beside the curves; NaN for classes without true boxes.
    """
    classes = len(instances)
    shape = (classes, len(CONFIDENCE_GRID))
    precision, recall, f1 = (np.full(shape, np.nan) for _ in range(3))
    points = []
    for class_id in range(classes):
        rows = np.flatnonzero((predictions.class_ids == class_id) & ~matches.ignored)
        rows = rows[np.argsort(-predictions.scores[rows], kind="stable")]
        scores = predictions.scores[rows].astype(np.float64)
        hits = np.concatenate([[0], np.cumsum(matches.correct[rows])])  # [n + 1], by number of boxes kept
        kept = np.searchsorted(-scores, -CONFIDENCE_GRID, side="right")
        np.divide(hits[kept], kept, out=precision[class_id], where=kept > 0)
        if instances[class_id]:
            recall[class_id] = hits[kept] / instances[class_id]
            f1[class_id] = 2 * hits[kept] / (kept + instances[class_id])
        points.append(_best_point(scores, hits, int(instances[class_id])))
    levels = np.linspace(0.0, 1.0, precision_at_recall.shape[1])
    return Curves(CONFIDENCE_GRID, precision, recall, f1, levels, precision_at_recall), tuple(points)


def _best_point(scores: Float64Array, hits: IntArray, instances: int) -> OperatingPoint:
    if not instances:
        return OperatingPoint(None, None, None, None)
    if not len(scores):
        return OperatingPoint(None, None, 0.0, 0.0)
    kept = np.flatnonzero(np.append(scores[1:] < scores[:-1], True)) + 1  # equal scores stay together
    best = int(kept[np.argmax(2 * hits[kept] / (kept + instances))])
    return OperatingPoint(
        confidence=float(scores[best - 1]),
        precision=float(hits[best] / best),
        recall=float(hits[best] / instances),
        f1=float(2 * hits[best] / (best + instances)),
    )


def best_common_point(curves: Curves) -> OperatingPoint:
    """The one score, for all classes, with the highest mean F1; figures are means over the classes with boxes."""
    defined = ~np.isnan(curves.f1[:, 0]) if len(curves.f1) else np.zeros(0, np.bool_)
    if not defined.any():
        return OperatingPoint(None, None, None, None)
    f1 = curves.f1[defined].mean(axis=0)
    best = int(np.argmax(f1))
    precision = curves.precision[defined, best]
    known = ~np.isnan(precision)
    return OperatingPoint(
        confidence=float(curves.confidence[best]),
        precision=float(precision[known].mean()) if known.any() else None,
        recall=float(curves.recall[defined, best].mean()),
        f1=float(f1[best]),
    )


@dataclass(frozen=True, slots=True)
class ReferenceAP:
    """The reference's figures per class that has true boxes (K of them).

    Attributes:
        class_ids: int64 [K].
        precision: float64 [K], at score 0.1.
        recall: float64 [K], at score 0.1.
        f1: float64 [K], at score 0.1.
        ap: float64 [K, T], one column an IoU threshold.
    """

    class_ids: IntArray
    precision: Float64Array
    recall: Float64Array
    f1: Float64Array
    ap: Float64Array


def compute_ap_yolov5(recall: ArrayLike, precision: ArrayLike) -> tuple[float, Float64Array, Float64Array]:
    """The reference's AP: 101-point trapezoid under the precision envelope, end sentinel at recall + 0.01.

    Args:
        recall: rising values [N > 0], one a prediction.
        precision: values [N].

    Returns:
        AP, the envelope of the precision [N + 2] and the recall with sentinels [N + 2].
    """
    recall, precision = np.asarray(recall, dtype=np.float64), np.asarray(precision, dtype=np.float64)
    levels = np.concatenate([[0.0], recall, [recall[-1] + 0.01]])
    envelope = np.concatenate([[1.0], precision, [0.0]])
    envelope = np.maximum.accumulate(envelope[::-1])[::-1]
    grid = np.linspace(0.0, 1.0, 101)
    height = np.interp(grid, levels, envelope)
    return float(np.sum((height[1:] + height[:-1]) / 2 * np.diff(grid))), envelope, levels


def ap_per_class_yolov5(
    correct: BoolArray, scores: ArrayLike, class_ids: ArrayLike, true_class_ids: ArrayLike
) -> ReferenceAP:
    """Precision, recall, F1 and AP as the reference computes them (evaluation.md section 4).

    Args:
        correct: [N, T], true positives at each IoU threshold; the first column is IoU 0.5.
        scores: [N].
        class_ids: [N].
        true_class_ids: [M], the class of every true box.
    """
    scores, class_ids = np.asarray(scores, dtype=np.float64), np.asarray(class_ids)
    order = np.argsort(-scores, kind="stable")
    correct, scores, class_ids = np.asarray(correct, dtype=np.bool_)[order], scores[order], class_ids[order]
    known, counts = np.unique(np.asarray(true_class_ids), return_counts=True)
    precision_at, recall_at = np.zeros(len(known)), np.zeros(len(known))
    ap = np.zeros((len(known), correct.shape[1]))
    for number, (class_id, count) in enumerate(zip(known, counts, strict=True)):
        chosen = class_ids == class_id
        if not chosen.any():
            continue
        hits = np.cumsum(correct[chosen], axis=0)  # [n, T]
        recall = hits / (count + 1e-16)
        precision = hits / np.arange(1, len(hits) + 1)[:, None]
        rising = -scores[chosen]
        precision_at[number] = np.interp(-_REFERENCE_CONFIDENCE, rising, precision[:, 0])
        recall_at[number] = np.interp(-_REFERENCE_CONFIDENCE, rising, recall[:, 0])
        ap[number] = [compute_ap_yolov5(recall[:, t], precision[:, t])[0] for t in range(ap.shape[1])]
    f1 = 2 * precision_at * recall_at / (precision_at + recall_at + 1e-16)
    return ReferenceAP(known.astype(np.int64), precision_at, recall_at, f1, ap)


@dataclass(frozen=True, slots=True)
class ReferenceSummary:
    """The figures of a line of the reference's log, and its AP of every class (``maps``, float64 [C])."""

    precision: float
    recall: float
    map50: float
    map: float
    maps: Float64Array

    def to_dict(self) -> dict[str, float]:
        """JSON-ready figures, without those of the classes."""
        return {"precision": self.precision, "recall": self.recall, "map50": self.map50, "map": self.map}


def summarize_yolov5(
    correct: BoolArray, predictions: Predictions, true_class_ids: IntArray, classes: int
) -> ReferenceSummary:
    """Means over the classes with true boxes; a class without any gets the overall AP (evaluation.md section 4).

    Without a single true positive every figure is 0.
    """
    if not correct.any():
        return ReferenceSummary(0.0, 0.0, 0.0, 0.0, np.zeros(classes))
    result = ap_per_class_yolov5(correct, predictions.scores, predictions.class_ids, true_class_ids)
    overall = float(result.ap.mean(axis=1).mean())
    maps = np.full(classes, overall)
    maps[result.class_ids] = result.ap.mean(axis=1)
    return ReferenceSummary(
        precision=float(result.precision.mean()),
        recall=float(result.recall.mean()),
        map50=float(result.ap[:, 0].mean()),
        map=overall,
        maps=maps,
    )


def fitness_yolov5(figures: Sequence[float]) -> float:
    """The reference's one number for choosing the best epoch: 0.1 mAP50 + 0.9 mAP.

    Args:
        figures: precision, recall, mAP50, mAP; anything after them does not count.
    """
    return 0.1 * float(figures[2]) + 0.9 * float(figures[3])
