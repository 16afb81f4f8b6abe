"""The merge rule, on the boxes that a faultless detector would find in each view of drawn objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.nms import NmsSettings
from vedette.core.seams import WHOLE_PICTURE, FoundInViews, cut_sides, merge_views
from vedette.core.tiles import tile_grid

EVERYTHING = NmsSettings(conf_threshold=0.0, iou_threshold=0.5)
TILE = 160
LIMIT = 0.25 * TILE - 2 * 0.02 * TILE
"""What is no longer lies whole in a tile, and away from its borders, wherever it is."""


def found_in_views(*rows):
    """Rows x1, y1, x2, y2, score, class, view."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 7)
    return FoundInViews(
        table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int64), table[:, 6].astype(np.int64)
    )


def seen(objects, grid, coarseness=0):
    """What a faultless detector finds: in each tile the part of every object that lies in it; the less of it, the
    lower its score. ``coarseness``: also in the whole picture, with corners rounded to multiples of it."""
    rows = []
    for class_id, *box in objects:
        area = (box[2] - box[0]) * (box[3] - box[1])
        for view, tile in enumerate(grid.corners().tolist()):
            x1, y1 = max(box[0], tile[0]), max(box[1], tile[1])
            x2, y2 = min(box[2], tile[2]), min(box[3], tile[3])
            if x1 < x2 and y1 < y2:
                rows.append((x1, y1, x2, y2, 0.3 + 0.6 * (x2 - x1) * (y2 - y1) / area, class_id, view))
        if coarseness:
            x1, y1, x2, y2 = (round(side / coarseness) * coarseness for side in box)
            if x1 < x2 and y1 < y2:
                height, width = grid.size_hw
                rows.append((x1, y1, min(x2, width), min(y2, height), 0.85, class_id, WHOLE_PICTURE))
    return found_in_views(*rows)


def apart(first, second, gap):
    return first[0] != second[0] or (
        first[3] + gap <= second[1]
        or second[3] + gap <= first[1]
        or first[4] + gap <= second[2]
        or second[4] + gap <= first[2]
    )


@st.composite
def scenes(draw, longest=400):
    """A picture of up to 640 pixels a side, and objects of two classes, class x1 y1 x2 y2; equal ones are apart."""
    size_hw = draw(st.tuples(st.integers(100, 640), st.integers(100, 640)))
    objects = []
    for _ in range(draw(st.integers(0, 5))):
        height = draw(st.integers(4, min(longest, size_hw[0])))
        width = draw(st.integers(4, min(longest, size_hw[1])))
        top, left = draw(st.integers(0, size_hw[0] - height)), draw(st.integers(0, size_hw[1] - width))
        candidate = (draw(st.integers(0, 1)), left, top, left + width, top + height)
        if all(apart(candidate, other, 4) for other in objects):
            objects.append(candidate)
    return size_hw, objects


def rows_of(found):
    return sorted(
        (int(class_id), *map(float, box))
        for class_id, box in zip(found.class_ids, found.boxes_xyxy_px, strict=True)
    )


@settings(max_examples=100, deadline=None)
@given(scenes(), st.sampled_from([0.1, 0.25, 0.4, 0.6]))
def test_without_the_whole_picture_every_object_is_found_once_and_exactly(scene, overlap):
    size_hw, objects = scene
    grid = tile_grid(size_hw, (TILE, TILE), overlap)
    merged, complete = merge_views(seen(objects, grid), grid, EVERYTHING)
    assert rows_of(merged) == sorted(objects)
    assert complete


@settings(max_examples=100, deadline=None)
@given(scenes(), st.integers(1, 3))
def test_with_the_whole_picture_every_object_is_found_once(scene, coarseness):
    size_hw, objects = scene
    grid = tile_grid(size_hw, (TILE, TILE), 0.25)
    merged, _ = merge_views(seen(objects, grid, coarseness), grid, EVERYTHING)
    found = rows_of(merged)
    assert len(found) == len(objects)
    for one in objects:
        same_class = [other for other in found if other[0] == one[0]]
        assert sum(np.abs(np.subtract(one, other)).max() <= coarseness for other in same_class) == 1


@given(scenes())
def test_small_objects_keep_the_box_of_a_tile(scene):
    """The whole picture sees them at a fraction of their size."""
    size_hw, objects = scene
    objects = [one for one in objects if max(one[3] - one[1], one[4] - one[2]) <= LIMIT]
    grid = tile_grid(size_hw, (TILE, TILE), 0.25)
    merged, _ = merge_views(seen(objects, grid, coarseness=3), grid, EVERYTHING)
    assert rows_of(merged) == sorted(objects) or len(grid) == 1


@given(scenes(), st.integers(1, 4))
def test_scores_fall_and_the_best_are_kept(scene, most):
    size_hw, objects = scene
    grid = tile_grid(size_hw, (TILE, TILE), 0.25)
    found = seen(objects, grid, 2)
    everything, _ = merge_views(found, grid, EVERYTHING)
    assert (np.diff(everything.scores) <= 0).all()
    fewer, _ = merge_views(found, grid, NmsSettings(conf_threshold=0, iou_threshold=0.5, max_detections=most))
    np.testing.assert_array_equal(fewer.boxes_xyxy_px, everything.boxes_xyxy_px[:most])


GRID = tile_grid((160, 280), (160, 160), 0.25)  # tiles 0: x 0..160, 1: x 120..280


def test_borders_of_the_picture_cut_nothing():
    found = found_in_views(
        (0, 0, 50, 160, 0.9, 0, 0),
        (100, 20, 160, 60, 0.9, 0, 0),
        (120, 20, 150, 60, 0.9, 0, 1),
        (123, 20, 150, 60, 0.9, 0, 1),  # within 2 % of the side
        (124, 20, 150, 60, 0.9, 0, 1),
        (0, 0, 280, 160, 0.9, 0, WHOLE_PICTURE),
    )
    left, top, right, bottom = cut_sides(found, GRID).T
    assert left.tolist() == [False, False, True, True, False, False]
    assert right.tolist() == [False, True, False, False, False, False]
    assert not top.any()
    assert not bottom.any()


def test_two_objects_side_by_side_at_a_seam_stay_two():
    """Each is whole in one tile and cut by the border of the other."""
    objects = [(0, 90, 40, 130, 80), (0, 134, 40, 190, 80)]
    assert rows_of(merge_views(seen(objects, GRID), GRID, EVERYTHING)[0]) == sorted(objects)


def test_boxes_of_one_view_do_not_suppress_each_other():
    """Its own suppression has looked at them, with the threshold that was asked for."""
    crowd = [(10, 10, 60, 100, 0.9, 0, 0), (25, 10, 75, 100, 0.8, 0, 0)]
    assert len(merge_views(found_in_views(*crowd), GRID, EVERYTHING)[0]) == 2
    crowd[1] = (*crowd[1][:6], WHOLE_PICTURE)
    assert len(merge_views(found_in_views(*crowd), GRID, EVERYTHING)[0]) == 1


def test_classes_are_apart_unless_told_otherwise():
    both = found_in_views((125, 10, 155, 40, 0.9, 0, 0), (125, 10, 155, 40, 0.8, 1, 1))
    assert rows_of(merge_views(both, GRID, EVERYTHING)[0]) == [(0, 125, 10, 155, 40), (1, 125, 10, 155, 40)]
    agnostic = NmsSettings(conf_threshold=0, agnostic=True)
    assert rows_of(merge_views(both, GRID, agnostic)[0]) == [(0, 125, 10, 155, 40)]


def test_pieces_lose_against_a_whole_box_of_lower_score():
    found = found_in_views(
        (20, 20, 160, 120, 0.9, 0, 0),
        (120, 20, 250, 120, 0.9, 0, 1),
        (18, 22, 252, 122, 0.4, 0, WHOLE_PICTURE),
    )
    merged, _ = merge_views(found, GRID, EVERYTHING)
    assert rows_of(merged) == [(0, 18, 22, 252, 122)]
    assert merged.scores.tolist() == pytest.approx([0.4])


def test_without_it_they_are_joined_with_the_better_score():
    found = found_in_views((20, 20, 160, 120, 0.5, 0, 0), (120, 24, 250, 120, 0.9, 0, 1))
    merged, _ = merge_views(found, GRID, EVERYTHING)
    assert rows_of(merged) == [(0, 20, 20, 250, 120)]
    assert merged.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize(
    "second",
    [
        (120, 90, 250, 150, 0.9, 0, 1),  # at another height
        (120, 20, 150, 120, 0.9, 0, 1),  # ends inside the strip that both tiles see
        (130, 20, 250, 120, 0.9, 0, 1),  # does not reach the border
        (120, 20, 250, 120, 0.9, 1, 1),  # of another class
        (120, 20, 250, 120, 0.9, 0, 0),  # of the same tile
    ],
)
def test_pieces_that_do_not_fit_stay_apart(second):
    found = found_in_views((20, 20, 160, 120, 0.9, 0, 0), second)
    boxes = rows_of(merge_views(found, GRID, EVERYTHING)[0])
    assert (0, 20, 20, 250, 120) not in boxes
    assert (0, 20, 20, 160, 120) in boxes


def test_the_best_pair_is_joined_and_every_end_once():
    found = found_in_views(
        (20, 20, 160, 120, 0.9, 0, 0),
        (120, 20, 250, 120, 0.8, 0, 1),
        (120, 20, 200, 90, 0.3, 0, 1),
    )
    merged, _ = merge_views(found, GRID, EVERYTHING)
    assert rows_of(merged)[0] == (0, 20, 20, 250, 120)
    assert merged.scores[0] == pytest.approx(0.9)


def test_too_many_candidates_are_told():
    found = found_in_views((10, 10, 20, 20, 0.9, 0, 0), (30, 10, 40, 20, 0.8, 0, 0))
    few = NmsSettings(conf_threshold=0, max_candidates=1)
    merged, complete = merge_views(found, GRID, few)
    assert (len(merged), complete) == (1, False)


def test_nothing_found():
    merged, complete = merge_views(found_in_views(), GRID, EVERYTHING)
    assert (len(merged), complete) == (0, True)
