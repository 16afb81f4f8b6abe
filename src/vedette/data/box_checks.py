"""What must hold for the boxes of every label format, checked on whole arrays at once.

Each row is named for the first thing that is wrong with it; rows that are kept may be named for what is doubtful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import BoolArray, IntArray
from vedette.data.defects import Defect
from vedette.data.formats.records import RawSplit
from vedette.data.labelled import LabelledClasses

EDGE_TOLERANCE_PX = 0.5
"""Rounding in label files moves an edge by less than this; only more is reported as crossing."""

LARGEST_PIXEL = 1e9
"""No picture is as large; beyond it, areas lose their meaning in float32."""

NEAR_DUPLICATE_SHARE = 0.02
"""Two boxes are nearly the same if each edge differs by at most this share of the box's side."""

MAX_NEIGHBOURS = 256
"""How many neighbours (by left edge) each box is compared with in the search for near duplicates."""

_RELATIVE_WORDS = ("x_center", "y_center", "width", "height")

Floats = NDArray[np.float64]


@dataclass(slots=True)
class RowCheck:
    """Rows under examination.

    Attributes:
        raw: where they come from.
        keep: bool [R]; rows that are still in.
        boxes: float64 [R, 4], (x1, y1, x2, y2) in pixels of the oriented picture.
        sizes_hw: float64 [R, 2], size of each row's picture.
        ignored: bool [R]; rows that are neither target nor background.
        defects: what was found.
    """

    raw: RawSplit
    keep: BoolArray
    boxes: Floats
    sizes_hw: Floats
    ignored: BoolArray
    defects: list[Defect] = field(default_factory=list)

    def report(
        self, found: BoolArray | np.bool_, kind: str, text: Callable[[int], str], *, drop: bool
    ) -> None:
        """Name the rows among ``found`` that are still in, and leave them out if ``drop``."""
        rows = np.flatnonzero(found & self.keep)
        if not len(rows):
            return
        for row, line in zip(rows.tolist(), self.raw.lines_of(rows), strict=True):
            path = self.raw.label_path(int(self.raw.rows.image_numbers[row]))
            record = f"annotations[{int(self.raw.rows.lines[row])}]: " if self.raw.locate else ""
            self.defects.append(Defect(path, line, kind, record + text(row)))
        if drop:
            self.keep[rows] = False


def check_rows(raw: RawSplit, sizes_hw: IntArray, usable: BoolArray, class_count: int) -> RowCheck:
    """Examine all rows of a split.

    Args:
        raw: the split as its format states it.
        sizes_hw: int [n, 2], sizes of the pictures after orientation.
        usable: bool [n], pictures that are used; rows of others are left out without further examination.
        class_count: class ids must be below.

    Returns:
        which rows stay, their boxes in pixels, and the defects.
    """
    numbers = raw.rows.image_numbers
    sizes = sizes_hw[numbers].astype(np.float64).reshape(-1, 2)
    check = RowCheck(raw, usable[numbers].copy(), _pixel_boxes(raw, sizes), sizes, raw.rows.ignored.copy())
    if raw.relative:
        _check_relative(check)
    else:
        _check_pixels(check)
    _check_classes(check, class_count)
    _check_sizes(check)
    _check_repetition(check)
    return check


def ignore_unlabelled(check: RowCheck, labelled: LabelledClasses, class_names: Sequence[str]) -> None:
    """Name boxes of classes that are not labelled in their picture, and make them ignored ones.

    Other objects of such a class have no box there, so nothing about it is learned or judged in that picture.
    """
    kept = np.flatnonzero(check.keep)
    class_ids = check.raw.rows.class_values[kept].astype(np.int64)
    of_row = labelled.set_ids[check.raw.rows.image_numbers[kept]]
    found = np.zeros(len(check.keep), np.bool_)
    found[kept] = ~labelled.sets[of_row, class_ids]

    def text(row: int) -> str:
        return f"'{class_names[int(check.raw.rows.class_values[row])]}' is not labelled in this picture"

    check.report(found, "class-not-labelled", text, drop=False)
    check.ignored |= found


def _pixel_boxes(raw: RawSplit, sizes_hw: Floats) -> Floats:
    if not raw.relative:
        return raw.rows.boxes
    centre, size = raw.rows.boxes[:, :2], raw.rows.boxes[:, 2:]
    with np.errstate(over="ignore", invalid="ignore"):
        corners = np.concatenate((centre - size / 2, centre + size / 2), axis=1)
        pixels: Floats = corners * np.tile(sizes_hw[:, ::-1], 2)
    return pixels


def _check_relative(check: RowCheck) -> None:
    values = check.raw.rows.boxes

    def text(row: int) -> str:
        column = int(np.argmax((values[row] < 0) | (values[row] > 1)))
        return f"{_RELATIVE_WORDS[column]} is {values[row, column]:g}, outside 0..1"

    # Rounding and careless export give values a little over 1; several beyond 2 can only be pixels.
    check.report((values > 2).sum(axis=1) >= 2, "pixel-coordinates", text, drop=True)
    check.report(((values < 0) | (values > 1)).any(axis=1), "out-of-range", text, drop=True)


def _check_pixels(check: RowCheck) -> None:
    boxes, (height, width) = check.boxes, check.sizes_hw.T
    x1, y1, x2, y2 = boxes.T

    def corners(row: int) -> str:
        offset = check.raw.corner_offset
        left, top = boxes[row, :2] + offset
        return f"box ({left:g}, {top:g}, {boxes[row, 2]:g}, {boxes[row, 3]:g})"

    def against_picture(row: int) -> str:
        return f"{corners(row)} in a picture of {width[row]:g}x{height[row]:g} (width x height)"

    absurd = (np.abs(boxes) > LARGEST_PIXEL).any(axis=1)
    check.report(absurd, "infinite", lambda row: f"{corners(row)} is absurdly large", drop=True)
    check.report(
        (x2 < x1) | (y2 < y1), "inverted", lambda row: f"{corners(row)} has its corners swapped", drop=True
    )
    # VOC's inclusive pixels make a box of one pixel of xmin = xmax; no annotator means that.
    one_point = ((x1 + check.raw.corner_offset) == x2) | ((y1 + check.raw.corner_offset) == y2)
    flat = (x2 == x1) | (y2 == y1) | one_point
    check.report(flat, "zero-size", lambda row: f"{corners(row)} has no width or height", drop=True)
    relative = ((boxes >= -check.raw.corner_offset) & (boxes <= 1)).all(axis=1)
    check.report(relative, "relative-coordinates", lambda row: f"{corners(row)} lies within 0..1", drop=True)
    outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    check.report(outside, "outside", lambda row: f"{against_picture(row)} lies outside", drop=True)


def _check_classes(check: RowCheck, class_count: int) -> None:
    values = check.raw.rows.class_values
    check.report(values < 0, "class-negative", lambda row: f"class {values[row]:g}", drop=True)
    check.report(
        values != np.floor(values),
        "class-not-integer",
        lambda row: f"class {values[row]:g} is not whole",
        drop=True,
    )
    last = f"the data set has classes 0 to {class_count - 1}"
    check.report(
        values >= class_count, "class-range", lambda row: f"class {values[row]:g}, but {last}", drop=True
    )


def _check_sizes(check: RowCheck) -> None:
    boxes, (height, width) = check.boxes, check.sizes_hw.T
    sides = boxes[:, 2:] - boxes[:, :2]

    def text(row: int) -> str:
        return f"{sides[row, 0]:.3g} x {sides[row, 1]:.3g} pixels (width x height)"

    # The stated size, not the difference of the edges: that of a tiny box can round to nothing.
    stated = check.raw.rows.boxes[:, 2:] if check.raw.relative else sides
    check.report((stated <= 0).any(axis=1), "zero-size", text, drop=True)
    check.report((sides < 1).any(axis=1), "tiny", text, drop=False)
    limits = np.stack((width, height), axis=1) + EDGE_TOLERANCE_PX
    over = (boxes[:, :2] < -EDGE_TOLERANCE_PX).any(axis=1) | (boxes[:, 2:] > limits).any(axis=1)

    def overshoot(row: int) -> str:
        beyond = max(-boxes[row, :2].min(), boxes[row, 2] - width[row], boxes[row, 3] - height[row])
        return f"reaches {beyond:.4g} pixels over the edge of the picture"

    check.report(over, "crosses-edge", overshoot, drop=False)


def _check_repetition(check: RowCheck) -> None:
    rows, boxes = check.raw.rows, check.raw.rows.boxes
    kept = np.flatnonzero(check.keep)
    if len(kept) < 2:
        return
    keys = [rows.image_numbers, *boxes.T, rows.ignored, rows.class_values]
    earlier = np.full(len(rows), -1, np.int64)
    # A stable sort by image, box, ignored, class: equal rows become neighbours, in the order of the file.
    order = kept[np.lexsort([key[kept] for key in reversed(keys)])]
    same_box = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys[:-1]])
    same_class = same_box & (rows.class_values[order[1:]] == rows.class_values[order[:-1]])
    earlier[order[1:]] = order[:-1]

    def describe(text: str, row: int) -> str:
        return f"{text} {check.raw.lines_of(earlier[row : row + 1])[0]}"

    for same, kind, drop, text in (
        (same_class, "duplicate", True, "the same row as line"),
        (same_box & ~same_class, "same-box-two-classes", False, "the same box, with another class, as line"),
    ):
        found = np.zeros(len(rows), np.bool_)
        found[order[1:][same]] = True
        check.report(found, kind, partial(describe, text), drop=drop)
    _check_near_duplicates(check)


def _check_near_duplicates(check: RowCheck) -> None:
    rows = check.raw.rows
    kept = np.flatnonzero(check.keep)
    order = kept[
        np.lexsort(
            (check.boxes[kept, 0], rows.class_values[kept], rows.ignored[kept], rows.image_numbers[kept])
        )
    ]
    group = np.stack((rows.image_numbers[order], rows.ignored[order], rows.class_values[order]), axis=1)
    boxes = check.boxes[order]
    tolerance = NEAR_DUPLICATE_SHARE * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    earlier = np.full(len(rows), -1, np.int64)
    for lag in range(1, min(MAX_NEIGHBOURS, len(order) - 1) + 1):
        apart = np.abs(boxes[lag:] - boxes[:-lag])
        # Boxes are sorted by their left edge: once no pair of a group is close in it, no wider lag is.
        close_left = (group[lag:] == group[:-lag]).all(axis=1) & (apart[:, 0] <= tolerance[:-lag, 0])
        if not close_left.any():
            break
        near = np.flatnonzero(close_left & (apart <= tolerance[:-lag]).all(axis=1) & (apart > 0).any(axis=1))
        first, second = order[near], order[near + lag]
        later = np.maximum(first, second)
        earlier[later] = np.where(earlier[later] < 0, np.minimum(first, second), earlier[later])

    def text(row: int) -> str:
        return f"almost the same box as line {check.raw.lines_of(earlier[row : row + 1])[0]}"

    check.report(earlier >= 0, "near-duplicate", text, drop=False)
