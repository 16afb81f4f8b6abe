from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.core.box_fusion import FUSION_IOU, fuse_boxes
from vedette.errors import ModelError


def rows(*boxes):
    return np.array(boxes, dtype=np.float32).reshape(-1, 6)


def plain_fusion(found, threshold=FUSION_IOU):
    """The seven steps of the paper, word for word, for detectors that count the same."""
    listed = sorted((list(map(float, row)) for part in found for row in part), key=lambda row: -row[4])
    clusters, fused = [], []
    for box in listed:
        overlaps = [iou(box, other) if box[5] == other[5] else 0.0 for other in fused]
        place = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        if place is None or overlaps[place] <= threshold:
            clusters.append([box])
            fused.append(box)
            continue
        members = clusters[place]
        members.append(box)
        total = sum(member[4] for member in members)
        corners = [sum(member[4] * member[side] for member in members) / total for side in range(4)]
        fused[place] = [*corners, total / len(members), box[5]]
    scored = [
        [*box[:4], box[4] * min(len(members), len(found)) / len(found), box[5]]
        for box, members in zip(fused, clusters, strict=True)
    ]
    return np.array(sorted(scored, key=lambda row: -row[4])).reshape(-1, 6)


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


@st.composite
def detectors(draw):
    """One to four detectors that see some of the same objects, each a little beside them; scores all differ."""
    count = draw(st.integers(1, 4))
    objects = draw(st.lists(st.tuples(*[st.integers(0, 300)] * 2, *[st.integers(20, 80)] * 2), max_size=6))
    found = []
    number = 0
    for _ in range(count):
        seen = []
        for place, (left, top, width, height) in enumerate(objects):
            if draw(st.booleans()):
                shift = draw(st.integers(-8, 8))
                number += 1
                score = (draw(st.integers(1, 90)) + number / 100) / 100
                seen.append((left + shift, top, left + shift + width, top + height, score, place % 2))
        found.append(rows(*seen))
    return found


def test_two_that_agree_are_averaged_by_their_scores():
    fused = fuse_boxes([rows((0, 0, 10, 10, 0.9, 1)), rows((2, 0, 12, 10, 0.3, 1))])
    # (0.9 * 0 + 0.3 * 2) / 1.2 = 0.5
    np.testing.assert_allclose(fused, [[0.5, 0, 10.5, 10, 0.6, 1]], rtol=1e-6)


def test_what_one_of_three_sees_counts_a_third():
    fused = fuse_boxes([rows((0, 0, 10, 10, 0.9, 0)), rows(), rows()])
    np.testing.assert_allclose(fused, [[0, 0, 10, 10, 0.3, 0]], rtol=1e-6)


def test_classes_are_kept_apart():
    fused = fuse_boxes([rows((0, 0, 10, 10, 0.8, 0)), rows((0, 0, 10, 10, 0.6, 1))])
    np.testing.assert_allclose(fused, [[0, 0, 10, 10, 0.4, 0], [0, 0, 10, 10, 0.3, 1]], rtol=1e-6)


def test_exactly_the_threshold_is_not_enough():
    half = [rows((0, 0, 10, 10, 0.8, 0)), rows((0, 0, 10, 5, 0.6, 0))]  # their IoU is 0.5
    assert len(fuse_boxes(half, iou_threshold=0.5)) == 2
    assert len(fuse_boxes(half, iou_threshold=0.49)) == 1


def test_a_box_joins_the_cluster_it_overlaps_most():
    found = [
        rows((0, 0, 10, 10, 0.9, 0), (4, 0, 14, 10, 0.7, 0)),
        rows((3, 0, 13, 10, 0.1, 0)),
    ]
    fused = fuse_boxes(found, iou_threshold=0.5)
    assert len(fused) == 2
    np.testing.assert_allclose(fused[0, :4], (0, 0, 10, 10))
    assert 3 < fused[1, 0] < 4


def test_weights_move_box_and_score():
    found = [rows((0, 0, 10, 10, 0.8, 0)), rows((2, 0, 12, 10, 0.4, 0))]
    (fused,) = fuse_boxes(found, weights=[3, 1])
    # corners by weight x score: 2 * 0.4 / (2.4 + 0.4); score: (3 * 0.8 + 0.4) / 4
    np.testing.assert_allclose(fused, [0.8 / 2.8, 0, 10 + 0.8 / 2.8, 10, 0.7, 0], rtol=1e-6)
    alone = fuse_boxes([found[0], rows()], weights=[3, 1])
    np.testing.assert_allclose(alone[0, 4], 0.6, rtol=1e-6)


def test_several_boxes_of_one_detector_never_raise_a_score_above_theirs():
    heavy = rows((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.9, 0), (0, 0, 10, 11, 0.9, 0))
    (fused,) = fuse_boxes([heavy, rows()], weights=[3, 1])
    np.testing.assert_allclose(fused[4], 0.9, rtol=1e-6)


def test_nothing_found():
    assert fuse_boxes([rows(), rows()]).shape == (0, 6)
    assert fuse_boxes([]).shape == (0, 6)
    assert fuse_boxes([rows((0, 0, 5, 5, 0, 0))]).shape == (0, 6)


@given(detectors())
def test_is_the_papers_rule(found):
    expected = plain_fusion(found)
    fused = fuse_boxes(found)
    assert fused.dtype == np.float32
    # float32 against Python's numbers; boxes of up to 400 px.
    np.testing.assert_allclose(np.sort(fused, axis=0), np.sort(expected, axis=0), rtol=1e-5, atol=1e-4)


@given(detectors(), st.randoms())
def test_the_order_of_equal_detectors_does_not_matter(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    # Sums in another order differ in float64's last bits.
    np.testing.assert_allclose(fuse_boxes(shuffled), fuse_boxes(found), rtol=1e-5, atol=1e-4)


@given(detectors(), st.floats(0.1, 10))
def test_only_the_ratio_of_weights_matters(found, factor):
    weights = [1.0 + number for number in range(len(found))]
    scaled = [factor * weight for weight in weights]
    np.testing.assert_allclose(fuse_boxes(found, scaled), fuse_boxes(found, weights), rtol=1e-5, atol=1e-4)


@given(detectors())
def test_no_score_and_no_corner_leaves_the_range_of_its_boxes(found):
    together = np.concatenate(found)
    for row in fuse_boxes(found):
        same = together[together[:, 5] == row[5]]
        assert row[4] <= same[:, 4].max() * (1 + 1e-6)
        assert (row[:4] >= same[:, :4].min(axis=0) - 1e-3).all()
        assert (row[:4] <= same[:, :4].max(axis=0) + 1e-3).all()


@given(detectors(), st.integers(2, 4))
def test_copies_of_a_detector_change_nothing(found, copies):
    once = fuse_boxes(found[:1])
    again = fuse_boxes([once] * copies)
    clusters_apart = all(
        iou(a, b) <= FUSION_IOU or a[5] != b[5] for i, a in enumerate(once) for b in once[:i]
    )
    if clusters_apart:
        np.testing.assert_allclose(again, once, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf]])
def test_weights_that_make_no_sense(weights):
    with pytest.raises(ModelError, match="weight"):
        fuse_boxes([rows(), rows()], weights=weights)
