"""Non-maximum suppression: predictions of the network to final boxes (inference.md, section 3).

The result is exactly that of the greedy algorithm. There is no time limit that would drop pictures: the number
of candidates is bounded, and a result that the bound may have changed says so (``complete``).

Arrays only: it serves every runtime, in processes without torch too. :mod:`vedette.core.nms_torch` does the same with
tensors where they are, which pays on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.core.boxes import cxcywh_to_xyxy
from vedette.core.types import BoolArray, FloatArray, IntArray
from vedette.errors import ModelError

MERGE_BELOW = 3000
"""The published rule merges only pictures with fewer candidates than this."""

CornersT = TypeVar("CornersT", FloatArray, NDArray[np.float64])

_BLOCK = 256
"""Candidates resolved at once; the matrices of a block stay in the cache of a processor."""


@dataclass(frozen=True, slots=True)
class NmsSettings:
    """What to keep.

    Attributes:
        conf_threshold: a candidate needs an objectness and a score (objectness x class) above it, 0..1.
        iou_threshold: a candidate is dropped if its IoU with a better one kept is above it, 0..1.
        class_ids: keep only these classes; None: all; empty: nothing.
        agnostic: boxes of different classes also suppress each other.
        multi_label: a box may be several classes, one candidate each; else its best class only. Without
            meaning for one class.
        max_candidates: the best so many candidates of a picture are looked at.
        max_detections: the best so many are kept.
        class_offset: None: only boxes of one class suppress each other, by comparing class ids. A number: the
            published way of getting there, boxes are moved by class x number before comparing; it loses precision
            for high class ids and confuses classes in pictures wider than the number. For reproducing
            published figures (4096 at v4.0, 7680 at v7.0).
        merge: replace a kept box by the score-weighted mean of all it overlaps, and drop those that overlap no
            other; only for 2..2999 candidates.

    Raises:
        ModelError: a value is out of range.
    """

    conf_threshold: float = 0.25
    iou_threshold: float = 0.45
    class_ids: tuple[int, ...] | None = None
    agnostic: bool = False
    multi_label: bool = True
    max_candidates: int = 30_000
    max_detections: int = 300
    class_offset: float | None = None
    merge: bool = False

    def __post_init__(self) -> None:
        for name in ("conf_threshold", "iou_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ModelError(f"{getattr(self, name)} is not between 0 and 1", where=f"nms.{name}")
        for name in ("max_candidates", "max_detections"):
            if getattr(self, name) < 1:
                raise ModelError(f"{getattr(self, name)} is not at least 1", where=f"nms.{name}")
        if any(class_id < 0 for class_id in self.class_ids or ()):
            raise ModelError("class ids start at 0", where="nms.class_ids")


@dataclass(frozen=True, slots=True)
class Suppressed:
    """What was kept of one picture.

    Attributes:
        detections: float32 [n, 6]: x1, y1, x2, y2, score, class; best score first, ties in prediction order.
        rows: int64 [n], the row of the prediction each came from.
        complete: False if ``max_candidates`` cut off candidates that might have been kept.
        non_finite_rows: rows left out because they hold NaN or infinity.
    """

    detections: FloatArray
    rows: IntArray
    complete: bool
    non_finite_rows: int


def suppress(
    predictions: FloatArray, settings: NmsSettings, row_numbers: IntArray | None = None
) -> Suppressed:
    """Filter, suppress and bound the predictions of one picture.

    Args:
        predictions: float32 [N, 5+C] decoded: centre and size in pixels, objectness, class probabilities. Not
            written to. Rows with NaN or infinity anywhere are left out and counted.
        settings: what to keep.
        row_numbers: int64 [N], what to call the rows in the result; None: by their place.

    Raises:
        ModelError: wrong shape, or a class id the model does not have.
    """
    if predictions.ndim != 2 or predictions.shape[1] < 6:
        raise ModelError(f"predictions have shape {list(predictions.shape)}, expected [N, 5 + classes]")
    classes = predictions.shape[1] - 5
    if any(class_id >= classes for class_id in settings.class_ids or ()):
        raise ModelError(f"the model has {classes} classes, 0 to {classes - 1}", where="nms.class_ids")
    # NaN passes this comparison on purpose: such rows are counted below.
    rows: IntArray = np.flatnonzero(~(predictions[:, 4] <= np.float32(settings.conf_threshold)))
    chosen = predictions[rows]
    found = len(chosen)
    finite = np.isfinite(chosen).all(axis=1)
    if not finite.all():
        chosen, rows = chosen[finite], rows[finite]
    candidates, cut = _best_candidates(chosen, rows, settings)
    boxes, groups = candidates.boxes, None if settings.agnostic else candidates.class_ids
    if groups is not None and settings.class_offset is not None:
        boxes, groups = boxes + groups[:, None].astype(np.float32) * np.float32(settings.class_offset), None
    threshold = np.float32(settings.iou_threshold)
    kept = greedy(
        len(boxes),
        lambda first, second: _group_iou(boxes, first, second, groups) > threshold,
        settings.max_detections,
    )
    kept_boxes = candidates.boxes[kept]
    complete = not cut or len(kept) == settings.max_detections
    if settings.merge and 1 < len(boxes) < MERGE_BELOW:
        kept_boxes, supported = _merge(candidates, boxes, groups, kept, settings.iou_threshold)
        kept_boxes, kept = kept_boxes[supported], kept[supported]
    detections: FloatArray = np.concatenate(
        (kept_boxes, candidates.scores[kept, None], candidates.class_ids[kept, None]),
        axis=1,
        dtype=np.float32,
    )
    kept_rows = candidates.rows[kept]
    return Suppressed(
        detections,
        kept_rows if row_numbers is None else row_numbers[kept_rows],
        complete,
        found - len(chosen),
    )


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Boxes [n, 4] corners, scores [n] descending, class ids [n], rows of the prediction [n]."""

    boxes: FloatArray
    scores: FloatArray
    class_ids: IntArray
    rows: IntArray


def _best_candidates(chosen: FloatArray, rows: IntArray, settings: NmsSettings) -> tuple[_Candidates, bool]:
    """The candidates of rows [n, 5+C], best first, and whether ``max_candidates`` cut some off."""
    threshold = np.float32(settings.conf_threshold)
    every = chosen[:, 5:] * chosen[:, 4:5]  # [n, C]
    index: IntArray
    class_ids: IntArray
    if settings.multi_label and every.shape[1] > 1:
        index, class_ids = np.nonzero(every > threshold)
    else:
        best = every.argmax(axis=1)
        index = np.flatnonzero(every[np.arange(len(every)), best] > threshold)
        class_ids = best[index]
    scores = every[index, class_ids]
    if settings.class_ids is not None:
        wanted = np.isin(class_ids, settings.class_ids)
        index, class_ids, scores = index[wanted], class_ids[wanted], scores[wanted]
    order = best_first(scores, settings.max_candidates)
    cut = len(order) < len(scores)
    index = index[order]
    return _Candidates(cxcywh_to_xyxy(chosen[index, :4]), scores[order], class_ids[order], rows[index]), cut


def best_first(scores: FloatArray, limit: int) -> IntArray:
    """Positions of the ``limit`` highest scores, descending; equal scores in their order."""
    if len(scores) <= limit:
        return np.argsort(-scores, kind="stable")
    # Selecting first is several times faster than sorting millions; the selection does not say which of several
    # equal scores it takes, so that only its lowest score is used.
    lowest = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    above = np.flatnonzero(scores > lowest)
    equal = np.flatnonzero(scores == lowest)[: limit - len(above)]
    positions = np.concatenate((above, equal))
    return positions[np.argsort(-scores[positions], kind="stable")]


def _merge(
    candidates: _Candidates,
    shifted: FloatArray,
    groups: IntArray | None,
    kept: IntArray,
    iou_threshold: float,
) -> tuple[FloatArray, BoolArray]:
    """Merged boxes [n, 4] of the kept candidates, and which of them overlap another candidate, bool [n]."""
    overlaps = _group_iou(shifted, kept, np.arange(len(shifted)), groups) > np.float32(
        iou_threshold
    )  # [n, all]
    weights = overlaps * candidates.scores
    merged = weights @ candidates.boxes / weights.sum(axis=1, keepdims=True)
    return merged, overlaps.sum(axis=1) > 1


Suppresses = Callable[[IntArray, IntArray], BoolArray]
"""Of the boxes at positions [n] and [m], ascending: which of the first suppress which of the second, bool [n, m]."""


def greedy(count: int, suppresses: Suppresses, max_kept: int) -> IntArray:
    """Greedy suppression of boxes in order of falling score: kept positions, int64, ascending.

    A box is kept unless one that was kept before suppresses it. Block by block: what kept boxes of earlier blocks
    suppress is taken out, the rest is resolved among itself.

    Args:
        count: how many boxes there are.
        suppresses: which suppress which.
        max_kept: stop after so many.
    """
    kept: IntArray = np.empty(0, dtype=np.int64)
    for start in range(0, count, _BLOCK):
        alive = np.arange(start, min(start + _BLOCK, count))
        if len(kept):
            alive = alive[~suppresses(kept, alive).any(axis=0)]
        kept = np.concatenate((kept, alive[_resolve(suppresses(alive, alive))]))
        if len(kept) >= max_kept:
            return kept[:max_kept]
    return kept


def _group_iou(boxes: FloatArray, first: IntArray, second: IntArray, groups: IntArray | None) -> FloatArray:
    """IoU of the boxes at ``first`` and ``second``, [n, m]; below 0 for boxes of different groups."""
    iou = pairwise_iou(boxes[first], boxes[second])
    if groups is not None:
        iou[groups[first, None] != groups[None, second]] = -1.0
    return iou


def pairwise_iou(a_xyxy: CornersT, b_xyxy: CornersT) -> CornersT:
    """Intersection over union of every pair of corners: [N, 4] and [M, 4] of one type to [N, M], 0..1.

    Plain inter / (area a + area b - inter) without an epsilon (evaluation.md); 0 where that is not a number. The
    same operations in the same order as :func:`vedette.core.iou.pairwise_iou`, so the same bits.
    """
    a_x1, a_y1, a_x2, a_y2 = np.ascontiguousarray(a_xyxy.T)[:, :, None]
    b_x1, b_y1, b_x2, b_y2 = np.ascontiguousarray(b_xyxy.T)[:, None, :]
    with np.errstate(all="ignore"):
        width = np.minimum(a_x2, b_x2)
        width -= np.maximum(a_x1, b_x1)
        height = np.minimum(a_y2, b_y2)
        height -= np.maximum(a_y1, b_y1)
        inter = np.maximum(width, 0, out=width)
        inter *= np.maximum(height, 0, out=height)
        union = (a_x2 - a_x1) * (a_y2 - a_y1) + (b_x2 - b_x1) * (b_y2 - b_y1)
        union -= inter
        iou: CornersT = np.divide(inter, union, out=inter)
    iou[np.isnan(iou)] = 0.0  # 0 / 0 for two empty boxes; inf / inf where areas overflow
    return iou


def _resolve(suppresses: BoolArray) -> BoolArray:
    """Greedy suppression within a block: bool [n] from bool [n, n] in order of falling score."""
    later = np.triu(suppresses, k=1)
    alive = np.ones(len(later), dtype=np.bool_)
    for number in np.flatnonzero(later.any(axis=1)):  # most boxes suppress none
        if alive[number]:
            alive &= ~later[number]
    return alive
