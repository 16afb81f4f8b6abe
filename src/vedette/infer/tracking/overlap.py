"""Which boxes of two sets overlap: few of all pairs do where there are many boxes."""

from __future__ import annotations

import numpy as np

from vedette.core.nms import pairwise_iou
from vedette.core.types import FloatArray, IntArray

_BLOCK = 64
"""Boxes that are compared together. All boxes at once give the same; that is faster for few and slower for many."""


def overlapping_pairs(
    a_xyxy: FloatArray, b_xyxy: FloatArray, block: int = _BLOCK
) -> tuple[IntArray, IntArray, FloatArray]:
    """The pairs with an IoU above 0.

    Args:
        a_xyxy: float32 [N, 4].
        b_xyxy: float32 [M, 4].
        block: so many boxes of the first set, from left to right, are compared with all those of the second that
            their columns of the picture reach.

    Returns:
        Rows of both, int64 [K] each, ordered by the first, then the second; IoU, float32 [K].
    """
    a_order, b_order = np.argsort(a_xyxy[:, 0], kind="stable"), np.argsort(b_xyxy[:, 0], kind="stable")
    b_left = b_xyxy[b_order, 0]
    # The right edges rise with this, so that what ends before a block is found by bisection, too.
    b_right = np.maximum.accumulate(b_xyxy[b_order, 2]) if len(b_order) else b_left
    found: list[tuple[IntArray, IntArray, FloatArray]] = []
    for start in range(0, len(a_order), block):
        rows = a_order[start : start + block]
        first = np.searchsorted(b_right, a_xyxy[rows, 0].min(), side="left")
        last = np.searchsorted(b_left, a_xyxy[rows, 2].max(), side="right")
        columns = b_order[first:last]
        overlap = pairwise_iou(a_xyxy[rows], b_xyxy[columns])
        here = np.nonzero(overlap > 0)
        found.append((rows[here[0]], columns[here[1]], overlap[here]))
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, np.zeros(0, dtype=np.float32)
    rows, columns, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], values[order]
