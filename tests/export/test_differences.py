import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.core.types import Detections
from vedette.export.differences import TOLERANCES, Differences, FoundBoxes, Tolerance, compare, tolerance_for

TOLERANCE = Tolerance(min_overlap=0.9, max_score=0.1, max_differing=0.0, max_ap=0.01)


def found(*rows):
    """Rows of x1, y1, x2, y2, score, name."""
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return FoundBoxes(boxes, np.array([row[4] for row in rows], np.float32), tuple(row[5] for row in rows))


def differences(expected, other, conf_threshold=0.25, max_detections=300):
    return compare(
        [found(*expected)],
        [found(*other)],
        conf_threshold=conf_threshold,
        max_detections=max_detections,
        tolerance=TOLERANCE,
    )


A = (10, 10, 50, 50, 0.9, "a")
B = (100, 100, 140, 160, 0.8, "b")


def test_equal_boxes_do_not_differ_in_any_order():
    result = differences([A, B], [B, A])
    assert result == Differences(pictures=1, boxes=2, overlap=1.0)
    assert result.problems(TOLERANCE, "x") == []


def test_differences_of_pairs_are_the_greatest():
    result = differences([A, B], [(11, 10, 50, 50, 0.85, "a"), (100, 100, 140, 157, 0.8, "b")])
    assert (result.boxes, result.unmatched, result.differing) == (2, 0, 0)
    assert result.box_px == 3.0
    assert result.score == pytest.approx(0.05)
    assert result.overlap == pytest.approx(41 * 58 / (41 * 61))


@pytest.mark.parametrize(
    "other",
    [
        [A],
        [A, B, (200, 200, 220, 220, 0.7, "a")],
        [A, (*B[:5], "a")],
        [A, (100, 100, 120, 160, 0.8, "b")],
        [A, (*B[:4], 0.6, "b")],
    ],
    ids=["lost", "more", "other class", "other box", "other score"],
)
def test_each_kind_of_difference_is_a_problem(other):
    result = differences([A, B], other)
    assert result.differing >= 1
    (problem,) = result.problems(TOLERANCE, "golden pictures")
    assert problem.startswith(f"golden pictures: {result.differing} of {result.boxes} boxes differ")


def test_a_share_of_boxes_may_differ():
    result = differences([A, B], [A])
    assert (result.boxes, result.differing) == (2, 1)
    allowed = Tolerance(0.9, 0.1, 0.5, 0.01)
    assert result.problems(allowed, "x") == []


@pytest.mark.parametrize(("boxes", "passes"), [(67, True), (51, True), (49, False)])
def test_of_few_boxes_the_nearest_whole_number_may_differ(boxes, passes):
    problems = Differences(pictures=3, boxes=boxes, differing=1).problems(TOLERANCES["fp16"], "x")  # 1 %
    assert (not problems) is passes


def test_boxes_near_the_threshold_may_come_and_go():
    near = (200, 200, 220, 220, 0.34, "a")
    assert differences([A, near], [A]).differing == 0
    assert differences([A], [A, near]).differing == 0
    assert differences([A, (*near[:4], 0.36, "a")], [A]).differing == 1


def test_boxes_beyond_the_last_that_is_kept_may_come_and_go():
    last = (200, 200, 220, 220, 0.7, "a")
    other = (300, 300, 320, 320, 0.71, "a")
    assert differences([A, last], [A, other], max_detections=2).differing == 0
    assert differences([A, last], [A, other], max_detections=3).differing == 2


def test_slivers_are_no_difference():
    assert differences([(0, 10, 50, 10.05, 0.9, "a")], [(0, 10.06, 50, 10.07, 0.9, "a")]).differing == 0


def test_nothing_found_by_both():
    result = differences([], [])
    assert (result.boxes, result.problems(TOLERANCE, "x")) == (0, [])


BOXES = st.lists(
    st.tuples(*[st.floats(0, 300)] * 2, *[st.floats(1, 200)] * 2, st.floats(0.3, 1), st.sampled_from("ab")),
    max_size=12,
).map(lambda rows: [(x, y, x + w, y + h, score, name) for x, y, w, h, score, name in rows])


@given(first=BOXES, second=BOXES)
def test_both_sides_are_alike(first, second):
    one, other = differences(first, second), differences(second, first)
    assert (one.boxes, one.unmatched) == (other.boxes, other.unmatched)
    assert differences(first, first).unmatched == 0


def test_detections_become_boxes_with_names():
    detections = Detections(
        np.zeros((2, 4), np.float32), np.array([0.9, 0.2], np.float32), np.array([1, 0]), ("a", "b"), (10, 10)
    )
    boxes = FoundBoxes.of(detections)
    assert boxes.class_names == ("b", "a")
    assert boxes.chosen(boxes.scores > 0.5).class_names == ("b",)


def test_the_coarsest_format_counts():
    assert tolerance_for("fp16", "bf16") is TOLERANCES["bf16"]
    assert tolerance_for("float32", "float32") is TOLERANCES["float32"]
    assert tolerance_for("int8", "float32") is TOLERANCES["int8"]
    values = list(TOLERANCES.values())
    for finer, coarser in itertools.pairwise(values):
        assert finer.min_overlap > coarser.min_overlap
        assert finer.max_score < coarser.max_score
        assert finer.max_differing < coarser.max_differing
        assert finer.max_ap < coarser.max_ap
