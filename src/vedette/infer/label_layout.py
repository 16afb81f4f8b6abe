"""Where the label of each box goes, so that labels stay inside the picture and off each other."""

from __future__ import annotations

import numpy as np

from vedette.core.types import BoolArray, FloatArray, IntArray, SizeHW

_POSITIONS = 8
_AT_MOST = 3  # boxes under a label beyond so many make it no worse
# What a pixel that hides a label or a box costs.
_LABEL_SHARE = 3.0
_BOX_SHARE = 0.2
_ORDER = np.arange(_POSITIONS) * 0.05  # what each step down the order of places costs, in labels hidden
_HIDDEN = 0.3  # a label that covers others by more than this share of itself is left out


def place_labels(
    boxes_xyxy_px: FloatArray, sizes_wh_px: IntArray, size_hw: SizeHW
) -> tuple[IntArray, BoolArray]:
    """Choose a place for each label, the first box first.

    Each label has eight places, in this order of preference: above the box at its left and right corner, inside
    at the top left and right, below at the left and right, inside at the bottom left and right. It takes the one
    that hides least: of earlier labels first, of boxes with less weight. A label that would cover much of others
    even there is left out: in a crowd, boxes say more than piles of labels.

    Args:
        boxes_xyxy_px: float32 [N, 4], the most important box first.
        sizes_wh_px: int64 [N, 2], (width, height) of each label; none larger than the picture.
        size_hw: size of the picture.

    Returns:
        int64 [N, 4], the labels as x1, y1, x2, y2, inside the picture; and bool [N], which of them to show.
    """
    count = len(boxes_xyxy_px)
    placed = np.zeros((count, 4), dtype=np.int64)
    shown = np.zeros(count, dtype=np.bool_)
    boxes = boxes_xyxy_px.astype(np.int64)
    limit_xy = np.array([size_hw[1], size_hw[0]], dtype=np.int64)
    for number in range(count):
        size = sizes_wh_px[number]
        wanted = _corners(boxes_xyxy_px[number], size)  # [8, 2]
        corners = np.clip(wanted, 0, np.maximum(limit_xy - size, 0))
        candidates = np.concatenate((corners, corners + size), axis=1)  # [8, 4]
        covered = _overlaps(candidates, placed[shown])
        shifted = np.abs(corners - wanted).sum(axis=1) * int(size[1])
        area = int(size.prod())
        on_boxes = np.minimum(_overlaps(candidates, boxes), _AT_MOST * area) * _BOX_SHARE
        later = _ORDER * area
        best = int(np.argmin(_LABEL_SHARE * covered + shifted + on_boxes + later))
        placed[number] = candidates[best]
        shown[number] = int(covered[best]) <= _HIDDEN * area
    return placed, shown


def _corners(box: FloatArray, size_wh: IntArray) -> IntArray:
    """Top left corners of the eight places, in order of preference: int64 [8, 2]."""
    width, height = int(size_wh[0]), int(size_wh[1])
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    columns = (x1, x2 - width)
    rows = (y1 - height, y1, y2, y2 - height)
    return np.array([(x, y) for y in rows for x in columns], dtype=np.int64).reshape(_POSITIONS, 2)


def _overlaps(candidates: IntArray, placed: IntArray) -> IntArray:
    """Pixels of each candidate that earlier labels cover, summed: [8]."""
    low = np.maximum(candidates[:, None, :2], placed[None, :, :2])
    high = np.minimum(candidates[:, None, 2:], placed[None, :, 2:])
    sides = np.maximum(high - low, 0)
    covered: IntArray = (sides[..., 0] * sides[..., 1]).sum(axis=1)
    return covered
