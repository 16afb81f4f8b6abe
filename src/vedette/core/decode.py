"""Decode: raw outputs of the network to boxes and scores, for the cells that may hold a detection only.

Formulas: specification ``model.md`` section 4. Arrays only, for every runtime; the head's own decode
(:mod:`vedette.model.head`) does all cells of a tensor and is its twin in the tests. With 25,200 cells in a frame of
640 pixels and a handful of objects, decoding everything costs more than all else behind the network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import FloatArray, IntArray

BOX_VALUES = 5
"""tx, ty, tw, th and objectness come before the classes."""

_SIGMOID_ROUNDING = 1e-6
"""Relative. A float32 sigmoid is off by a few units of 6e-8; near a score of 1 that is a lot in the raw value."""

_THRESHOLD_ROUNDING = 1 / 256
"""Relative. A raw threshold is rounded to the precision of the values it is compared with; bf16 has 8 bits."""


@dataclass(frozen=True, slots=True)
class HeadGeometry:
    """What a raw output means.

    Attributes:
        strides: frame pixels a cell, by level, in the order of the levels.
        anchors_px: float32 [L, A, 2], width and height in frame pixels.
        classes: C.
    """

    strides: tuple[int, ...]
    anchors_px: FloatArray
    classes: int


@dataclass(frozen=True, slots=True)
class Decoded:
    """Some rows of the prediction of one picture.

    Attributes:
        rows: float32 [n, 5+C]: centre and size in frame pixels, objectness, class scores 0..1.
        numbers: int64 [n], ascending: which of all rows. They run over levels, then anchors, rows, columns.
    """

    rows: FloatArray
    numbers: IntArray


@dataclass(frozen=True, slots=True)
class ChosenCells:
    """Raw values of some cells of one level, of all pictures of a batch.

    Attributes:
        logits: float32 [n, 5+C].
        places: four int64 [n]: picture, anchor, row and column of the cell; ascending in this order.
        cells_hw: height and width of the level in cells.
    """

    logits: FloatArray
    places: tuple[IntArray, IntArray, IntArray, IntArray]
    cells_hw: tuple[int, int]


def logit_threshold(conf_threshold: float) -> float:
    """The raw objectness up to which no cell, of any precision, can have a score above ``conf_threshold``.

    It is a bound from below, and some cells above it fail the exact rule, which comes after decoding.
    """
    if conf_threshold <= 0:
        return -math.inf
    if conf_threshold >= 1:
        return math.inf
    score = conf_threshold * (1.0 - _SIGMOID_ROUNDING)
    logit = math.log(score / (1.0 - score))
    return logit - abs(logit) * _THRESHOLD_ROUNDING


def cells_above(level: NDArray[Any], threshold: float) -> ChosenCells:
    """The cells of a raw level whose objectness is above a raw threshold, or not a number.

    Args:
        level: floating [B, A, 5+C, h, w]; a view of any strides will do.
        threshold: of :func:`logit_threshold`.
    """
    # NaN passes this comparison on purpose, so that it is seen and counted later.
    picture, anchor, row, column = np.nonzero(~(level[:, :, BOX_VALUES - 1] <= threshold))
    logits = level[picture, anchor, :, row, column].astype(np.float32, copy=False)
    return ChosenCells(logits, (picture, anchor, row, column), (level.shape[3], level.shape[4]))


def decode_chosen(levels: Sequence[ChosenCells], head: HeadGeometry, pictures: int) -> list[Decoded]:
    """The chosen cells of all levels as rows of the prediction, one value a picture of the batch."""
    parts: list[list[tuple[FloatArray, IntArray]]] = [[] for _ in range(pictures)]
    first = 0
    for number, level in enumerate(levels):
        picture, anchor, row, column = level.places
        cells_xy = np.stack((column, row), axis=1).astype(np.float32)
        rows = decode_logits(level.logits, cells_xy, head.anchors_px[number, anchor], head.strides[number])
        height, width = level.cells_hw
        numbers = first + (anchor * height + row) * width + column
        ends = np.searchsorted(picture, np.arange(pictures + 1))
        for place, found in enumerate(parts):
            part = slice(ends[place], ends[place + 1])
            found.append((rows[part], numbers[part]))
        first += head.anchors_px.shape[1] * height * width
    return [
        Decoded(
            np.concatenate([rows for rows, _ in found]), np.concatenate([numbers for _, numbers in found])
        )
        for found in parts
    ]


def decode_logits(
    logits: FloatArray, cells_xy: FloatArray, anchors_px: FloatArray, stride: int
) -> FloatArray:
    """Boxes and scores of raw values.

    Args:
        logits: float32 [n, 5+C].
        cells_xy: float32 [n, 2], column and row.
        anchors_px: float32 [n, 2], width and height in pixels of the frame.
        stride: pixels a cell.

    Returns:
        float32 [n, 5+C]: cx, cy, w, h in pixels of the frame, objectness, class scores 0..1.
    """
    with np.errstate(over="ignore"):  # exp of a very negative value: its sigmoid is 0
        values: FloatArray = np.exp(-logits)
    values += 1.0
    np.reciprocal(values, out=values)
    values[:, 0:2] = (values[:, 0:2] * 2.0 - 0.5 + cells_xy) * np.float32(stride)
    values[:, 2:4] = (values[:, 2:4] * 2.0) ** 2 * anchors_px
    return values
