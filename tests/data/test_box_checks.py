from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.data.box_checks import EDGE_TOLERANCE_PX, NEAR_DUPLICATE_SHARE, check_rows
from vedette.data.formats.records import RawSplit, RowCollector

Row = tuple[int, float, tuple[float, float, float, float], bool]
CLASSES = 3
SIZE_HW = (30, 40)


def _raw(rows: list[Row], *, relative: bool, offset: float = 0.0, images: int = 2) -> RawSplit:
    collector = RowCollector()
    for line, (image, class_value, box, ignored) in enumerate(rows, start=1):
        collector.add(image, class_value, box, line=line, ignored=ignored)
    paths = [f"{number}.png" for number in range(images)]
    return RawSplit(
        image_paths=paths,
        image_ids=None,
        declared_sizes_hw=np.zeros((images, 2), np.int32),
        label_paths=["labels"],
        rows=collector.pack(),
        relative=relative,
        corner_offset=offset,
        defects=[],
        unusable=frozenset(),
        pictures_read=images,
        rows_read=len(rows),
        mention=lambda number: (paths[number], 0),
    )


def _check(
    rows: list[Row], *, relative: bool, usable: tuple[bool, bool] = (True, True)
) -> set[tuple[int, str]]:
    check = check_rows(_raw(rows, relative=relative), np.array([SIZE_HW, SIZE_HW]), np.array(usable), CLASSES)
    found = {(defect.line, defect.kind) for defect in check.defects}
    dropped = {defect.line for defect in check.defects if defect.effect in ("row", "duplicate")}
    skipped = {line for line, row in enumerate(rows, start=1) if not usable[row[0]]}
    assert set((np.flatnonzero(~check.keep) + 1).tolist()) == dropped | skipped
    return found


def _plain(rows: list[Row], *, relative: bool) -> set[tuple[int, str]]:
    """The same rules, row by row and pair by pair."""
    found: set[tuple[int, str]] = set()
    kept: list[tuple[int, Row, tuple[float, float, float, float]]] = []
    for line, row in enumerate(rows, start=1):
        box = _in_pixels(row[2], relative)
        kind = _plain_fault(row, box, relative)
        if kind:
            found.add((line, kind))
            continue
        if min(box[2] - box[0], box[3] - box[1]) < 1:
            found.add((line, "tiny"))
        if max(-box[0], -box[1], box[2] - SIZE_HW[1], box[3] - SIZE_HW[0]) > EDGE_TOLERANCE_PX:
            found.add((line, "crosses-edge"))
        kept.append((line, row, box))
    unique = [
        (line, row, box)
        for position, (line, row, box) in enumerate(kept)
        if not any(other == row for _, other, _ in kept[:position])
    ]
    found |= {(line, "duplicate") for line, row, box in kept if (line, row, box) not in unique}
    for line, row, box in unique:
        for other_line, other, other_box in unique:
            if (row[0], row[3]) != (other[0], other[3]):
                continue
            if row[2] == other[2] and row[1] > other[1]:
                found.add((line, "same-box-two-classes"))
            if row[1] == other[1] and other_line < line and _near(box, other_box):
                found.add((line, "near-duplicate"))
    return found


def _in_pixels(box: tuple[float, ...], relative: bool) -> tuple[float, float, float, float]:
    if not relative:
        return box[0], box[1], box[2], box[3]
    height, width = SIZE_HW
    cx, cy, w, h = box
    return (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height


def _plain_fault(row: Row, box: tuple[float, ...], relative: bool) -> str:  # noqa: PLR0911, PLR0912, C901
    values = row[2]
    if relative:
        if sum(value > 2 for value in values) >= 2:
            return "pixel-coordinates"
        if min(values) < 0 or max(values) > 1:
            return "out-of-range"
    else:
        if box[2] < box[0] or box[3] < box[1]:
            return "inverted"
        if box[2] == box[0] or box[3] == box[1]:
            return "zero-size"
        if min(values) >= 0 and max(values) <= 1:
            return "relative-coordinates"
        if box[2] <= 0 or box[3] <= 0 or box[0] >= SIZE_HW[1] or box[1] >= SIZE_HW[0]:
            return "outside"
    if row[1] < 0:
        return "class-negative"
    if row[1] != int(row[1]):
        return "class-not-integer"
    if row[1] >= CLASSES:
        return "class-range"
    return "zero-size" if relative and min(values[2:]) <= 0 else ""


def _near(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Measured by the sides of the box that begins further left, the one met first in the sorted search."""
    left = min((a, b), key=lambda box: box[0])
    sides = [left[2] - left[0], left[3] - left[1]] * 2
    apart = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return any(apart) and all(x <= NEAR_DUPLICATE_SHARE * side for x, side in zip(apart, sides, strict=True))


_class = st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.0, -1.0, 1.5])
_relative_value = st.sampled_from([0.0, 0.25, 0.5, 0.501, 0.5025, 0.75, 1.0, 0.01, -0.1, 1.2, 7.0])
_pixel_value = st.sampled_from(
    [0.0, 0.5, 3.0, 3.1, 7.0, 12.0, 12.25, 29.0, 30.25, 33.0, 40.0, 41.0, -2.0, -9.0]
)
_relative_row = st.tuples(st.integers(0, 1), _class, st.tuples(*[_relative_value] * 4), st.booleans())
_pixel_row = st.tuples(st.integers(0, 1), _class, st.tuples(*[_pixel_value] * 4), st.booleans())


@settings(deadline=None, max_examples=150)
@given(st.lists(_relative_row, max_size=12))
def test_relative_rows_equal_the_plain_rules(rows: list[Row]) -> None:
    assert _check(rows, relative=True) == _plain(rows, relative=True)


@settings(deadline=None, max_examples=150)
@given(st.lists(_pixel_row, max_size=12))
def test_pixel_rows_equal_the_plain_rules(rows: list[Row]) -> None:
    assert _check(rows, relative=False) == _plain(rows, relative=False)


def test_rows_of_pictures_that_are_left_out_are_not_examined() -> None:
    rows: list[Row] = [(0, 9.0, (5, 5, 1, 1), False), (1, 0.0, (5, 5, 9, 9), False)]
    assert _check(rows, relative=False, usable=(False, True)) == set()


def test_pixels_from_relative_boxes() -> None:
    raw = _raw([(0, 0.0, (0.5, 0.5, 0.25, 0.5), False)], relative=True)
    check = check_rows(raw, np.array([SIZE_HW, (1, 1)]), np.array([True, True]), 1)
    np.testing.assert_array_equal(check.boxes, [[15, 7.5, 25, 22.5]])


def test_one_pixel_of_the_inclusive_convention_is_a_point() -> None:
    """xmin = xmax in a VOC file; after the subtraction of 1 the box is one pixel wide."""
    raw = _raw([(0, 0.0, (503.0, 336.0, 504.0, 337.0), False)], relative=False, offset=1.0)
    check = check_rows(raw, np.array([(480, 640), (1, 1)]), np.array([True, True]), 1)
    assert [str(defect.text) for defect in check.defects] == [
        "box (504, 337, 504, 337) has no width or height"
    ]


def test_huge_numbers_do_not_pass() -> None:
    rows: list[Row] = [
        (0, 1e300, (1e300, 1e300, 1e300, 1e300), False),
        (0, 1e300, (0.5, 0.5, 0.1, 0.1), False),
    ]
    assert _check(rows, relative=True) == {(1, "pixel-coordinates"), (2, "class-range")}
    assert _check([(0, 0.0, (1.0, 1.0, 1e300, 9.0), False)], relative=False) == {(1, "infinite")}


def test_no_rows() -> None:
    assert _check([], relative=True) == set()
