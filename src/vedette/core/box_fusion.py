"""Weighted box fusion: the boxes of several detectors become one set of averages.

Rule: Solovyev, Wang, Gabruseva, "Weighted boxes fusion: Ensembling boxes from different object detection models"
(Image and Vision Computing, 2021), section 3. Suppression keeps one box of many and forgets the others; fusion
averages them, and lowers the score of what few detectors agree on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.core.nms import pairwise_iou
from vedette.core.types import FloatArray
from vedette.errors import ModelError

FUSION_IOU = 0.55
"""A box joins a cluster whose average it overlaps more than this; the paper's best value."""

Float64Array = NDArray[np.float64]


def fuse_boxes(
    found: Sequence[FloatArray], weights: Sequence[float] | None = None, iou_threshold: float = FUSION_IOU
) -> FloatArray:
    """What several detectors found in one picture, fused class by class.

    All boxes are taken in order of falling weight x score. One joins the cluster of its class whose average it
    overlaps most, if that is more than the threshold; else it begins a cluster. A cluster is the mean of its boxes,
    weighted by weight x score. Its score is the mean of its boxes' scores, weighted by weight, times the share of all
    detectors' weights that is in it (at most 1; several boxes of one detector count as often). With equal weights this
    is the paper's mean x min(boxes, detectors) / detectors.

    Args:
        found: one float32 [n, 6] a detector: x1, y1, x2, y2, score, class, in one frame. Boxes without a score above
            0 are left out.
        weights: how much each detector counts; None: all the same.
        iou_threshold: 0..1.

    Returns:
        float32 [m, 6], best score first.

    Raises:
        ModelError: the number of weights is not that of the detectors, or a weight is not a number above 0.
    """
    shares = checked_weights(weights, len(found))
    rows: Float64Array = np.concatenate([np.zeros((0, 6)), *found]).astype(np.float64)
    row_weights = np.repeat(shares, [len(part) for part in found])
    scored = rows[:, 4] > 0
    rows, row_weights = rows[scored], row_weights[scored]
    order = np.argsort(-row_weights * rows[:, 4], kind="stable")
    rows, row_weights = rows[order], row_weights[order]
    fused = [np.zeros((0, 6))]
    for class_id in np.unique(rows[:, 5]):
        members = rows[:, 5] == class_id
        fused.append(_fuse_class(rows[members], row_weights[members], float(shares.sum()), iou_threshold))
    joined = np.concatenate(fused)
    return joined[np.argsort(-joined[:, 4], kind="stable")].astype(np.float32)


def checked_weights(weights: Sequence[float] | None, detectors: int) -> Float64Array:
    """One weight a detector, float64. Raises ModelError."""
    if weights is None:
        return np.ones(detectors)
    if len(weights) != detectors:
        raise ModelError(f"there are {len(weights)} weights for {detectors} detectors")
    shares = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(shares) & (shares > 0)).all():
        raise ModelError("a detector's weight is not a number above 0")
    return shares


@dataclass(slots=True)
class _Clusters:
    """Sums over the boxes of each of the first ``count`` clusters."""

    corners: Float64Array  # [n, 4], of weight x score x corner
    weighted_scores: Float64Array  # [n]
    weights: Float64Array  # [n]
    count: int = 0

    def means(self) -> NDArray[Any]:
        """Average boxes, [count, 4]."""
        return self.corners[: self.count] / self.weighted_scores[: self.count, None]


def _fuse_class(
    rows: Float64Array, weights: Float64Array, total: float, iou_threshold: float
) -> Float64Array:
    """Rows [n, 6] of one class, in order, as fused rows [m, 6]."""
    clusters = _Clusters(np.zeros((len(rows), 4)), np.zeros(len(rows)), np.zeros(len(rows)))
    for row, weight in zip(rows, weights, strict=True):
        place = clusters.count
        if place:
            corners: NDArray[Any] = row[None, :4]
            overlaps = pairwise_iou(clusters.means(), corners)[:, 0]
            nearest = int(overlaps.argmax())
            if overlaps[nearest] > iou_threshold:
                place = nearest
        clusters.count = max(clusters.count, place + 1)
        clusters.corners[place] += weight * row[4] * row[:4]
        clusters.weighted_scores[place] += weight * row[4]
        clusters.weights[place] += weight
    kept = slice(clusters.count)
    present = clusters.weights[kept]
    scores = clusters.weighted_scores[kept] / present * np.minimum(present / total, 1.0)
    class_ids = np.full(clusters.count, rows[0, 5])
    return np.concatenate((clusters.means(), scores[:, None], class_ids[:, None]), axis=1)
