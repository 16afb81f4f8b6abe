"""Matrices, boxes and the candidate filter."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.augment.geometric import (
    AFFINE_DRAWS,
    AffineChoice,
    Labels,
    affine_matrix,
    choose_affine,
    flip_boxes,
    is_candidate,
    warp_boxes,
    warp_labels,
    warp_points,
)
from vedette.config.hyperparameters import Hyperparameters

GOLDEN = Path(__file__).parents[1] / "golden" / "training"
AFFINE_CASES = [
    case
    for case in json.loads((GOLDEN / "18-affine.json").read_text())["cases"]
    if "image_hw" in case["input"]
]
CANDIDATE_CASES = json.loads((GOLDEN / "19-box-candidates.json").read_text())["cases"]


def choice_of(case):
    draws = case["input"]["draws_in_order"]
    return AffineChoice(
        perspective_x=draws["p_x"],
        perspective_y=draws["p_y"],
        degrees=draws["angle_deg"],
        scale=draws["scale"],
        shear_x=draws["shear_x_deg"],
        shear_y=draws["shear_y_deg"],
        translate_x=draws["tx_fraction"],
        translate_y=draws["ty_fraction"],
        projective=case["input"]["limits"]["perspective"] != 0,
    )


@pytest.mark.parametrize("case", AFFINE_CASES, ids=lambda case: case["id"])
def test_affine_golden(case):
    """Golden 18-affine.json (its picture is in test_mosaic). float64: 1e-9; targets via float32: 1e-5."""
    height, width = case["input"]["image_hw"]
    border_y, border_x = case["input"]["border"]
    output_hw = (height + 2 * border_y, width + 2 * border_x)
    assert list(output_hw) == case["expected"]["out_hw"]
    choice = choice_of(case)
    matrix = affine_matrix(choice, (height, width), output_hw)
    np.testing.assert_allclose(matrix, case["expected"]["M"], rtol=1e-9, atol=1e-9)
    rows = np.array(case["input"]["boxes_cls_xyxy"], dtype=np.float64)
    boxes = warp_boxes(rows[:, 1:], matrix, output_hw, choice.projective)
    np.testing.assert_allclose(boxes, case["expected"]["transformed_boxes_clipped"], rtol=1e-9, atol=1e-9)
    keep = is_candidate(rows[:, 1:] * choice.scale, boxes)
    assert keep.tolist() == case["expected"]["keep"]
    labels = Labels(rows[:, 1:], rows[:, 0].astype(np.int64), np.zeros(len(rows), dtype=np.bool_))
    warped = warp_labels(labels, matrix, choice, output_hw)
    targets = np.column_stack([warped.class_ids, warped.boxes_xyxy_px])
    np.testing.assert_allclose(
        targets, np.reshape(case["expected"]["targets"], (-1, 5)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("case", CANDIDATE_CASES, ids=lambda case: case["id"])
def test_box_candidates_golden(case):
    """Golden 19-box-candidates.json, exact; the second case uses another aspect limit."""
    options = {"max_aspect": case["input"]["ar_thr"]} if "ar_thr" in case["input"] else {}
    keep = is_candidate(np.array(case["input"]["box1"]), np.array(case["input"]["box2"]), **options)
    assert keep.tolist() == case["expected"]


def test_draws_become_the_published_ranges():
    hyperparameters = Hyperparameters(
        degrees=10.0, translate=0.2, scale=0.5, shear=5.0, perspective=0.001, flipud=0.0
    )
    low = choose_affine(np.zeros(AFFINE_DRAWS), hyperparameters)
    assert low == AffineChoice(-0.001, -0.001, -10.0, 0.5, -5.0, -5.0, 0.3, 0.3, projective=True)
    middle = choose_affine(np.full(AFFINE_DRAWS, 0.5), hyperparameters)
    assert middle == AffineChoice(projective=True)
    flat = choose_affine(np.linspace(0, 0.99, AFFINE_DRAWS), Hyperparameters(perspective=0.0))
    assert not flat.projective


def test_no_boxes_stay_no_boxes():
    empty = Labels(np.empty((0, 4)), np.empty(0, dtype=np.int64), np.empty(0, dtype=np.bool_))
    assert warp_labels(empty, np.eye(3), AffineChoice(), (10, 10)).boxes_xyxy_px.shape == (0, 4)
    assert flip_boxes(np.empty((0, 4)), (5, 5), left_right=True, up_down=True).shape == (0, 4)


def test_ignored_boxes_stay_while_anything_of_them_is_visible():
    boxes = np.array([[0.0, 0, 100, 100], [0, 0, 100, 100], [200, 200, 300, 300]])
    labels = Labels(boxes, np.array([0, 1, 2]), np.array([False, True, True]))
    matrix = affine_matrix(AffineChoice(translate_x=-0.35, translate_y=0.5), (100, 100), (100, 100))
    warped = warp_labels(labels, matrix, AffineChoice(), (100, 100))
    # 15 % of 100 px is left: 15 x 100, of which a learnable box keeps more than a tenth
    assert warped.class_ids.tolist() == [0, 1]
    further = affine_matrix(AffineChoice(translate_x=-0.45, translate_y=0.5), (100, 100), (100, 100))
    assert warp_labels(labels, further, AffineChoice(), (100, 100)).class_ids.tolist() == [1]


finite = st.floats(-0.5, 0.5)


@settings(deadline=None, max_examples=100)
@given(
    angle=st.floats(-180, 180),
    scale=st.floats(0.1, 1.9),
    shear=st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
    shift=st.tuples(finite, finite),
    perspective=st.tuples(st.floats(-0.001, 0.001), st.floats(-0.001, 0.001)),
    box=st.tuples(st.floats(0, 80), st.floats(0, 80), st.floats(0, 20), st.floats(0, 20)),
)
def test_a_warped_box_holds_every_warped_point_of_it(angle, scale, shear, shift, perspective, box):
    choice = AffineChoice(*perspective, angle, scale, *shear, 0.5 + shift[0], 0.5 + shift[1], projective=True)
    matrix = affine_matrix(choice, (100, 100), (100, 100))
    x, y, width, height = box
    boxes = np.array([[x, y, x + width, y + height]])
    warped = warp_boxes(boxes, matrix, (100, 100), projective=True)[0]
    assert (warped >= 0).all()
    assert (warped <= 100).all()
    inside = np.array([[x + width * a, y + height * b] for a in (0, 0.3, 1) for b in (0, 0.6, 1)])
    points = np.clip(warp_points(inside, matrix, projective=True), 0, 100)
    assert (points >= warped[:2] - 1e-6).all()
    assert (points <= warped[2:] + 1e-6).all()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(0, 60), st.floats(0, 60), st.floats(0, 40), st.floats(0, 30)), max_size=5)
)
def test_flipping_twice_changes_nothing(rows):
    boxes = np.array([[x, y, x + width, y + height] for x, y, width, height in rows]).reshape(-1, 4)
    for left_right, up_down in ((True, False), (False, True), (True, True)):
        once = flip_boxes(boxes, (90, 100), left_right=left_right, up_down=up_down)
        assert (once[:, :2] <= once[:, 2:]).all()
        again = flip_boxes(once, (90, 100), left_right=left_right, up_down=up_down)
        np.testing.assert_allclose(again, boxes, atol=1e-9)


def test_moved_clipped_and_joined_labels():
    labels = Labels(np.array([[0.0, 0, 10, 20]]), np.array([1]), np.array([False]))
    moved = labels.moved((2.0, 0.5), (-5, 3))
    assert moved.boxes_xyxy_px.tolist() == [[-5, 3, 15, 13]]
    assert moved.clipped((8, 12)).boxes_xyxy_px.tolist() == [[0, 3, 12, 8]]
    joined = Labels.joined([labels, moved])
    assert joined.class_ids.tolist() == [1, 1]
    assert joined.kept(np.array([False, True])).boxes_xyxy_px.tolist() == [[-5, 3, 15, 13]]
