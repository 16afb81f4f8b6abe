"""Decoding of chosen cells: golden decode.json by way of the head, the threshold, batches, broken numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.decode import ChosenCells, HeadGeometry, cells_above, decode_chosen, logit_threshold
from vedette.core.nms import NmsSettings, suppress
from vedette.model.head import Detect

ANCHORS = [[(10, 13), (16, 30), (33, 23)], [(30, 61), (62, 45), (59, 119)]]
STRIDES = (8, 16)
CLASSES = 3
ONE_CELL = HeadGeometry((8,), np.ones((1, 1, 2), np.float32), CLASSES)


@pytest.fixture(scope="module")
def head():
    return Detect(CLASSES, ANCHORS, STRIDES, (4, 4), anchor_grid=False)


@pytest.fixture(scope="module")
def geometry(head):
    return HeadGeometry(head.strides, head.anchors_px().numpy(), head.classes)


def raw_levels(seed=0, batch=2, scale=3.0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(-1, scale, (batch, 3, 5 + CLASSES, 96 // stride, 64 // stride)).astype(np.float32)
        for stride in STRIDES
    ]


def decoded_by_head(head, levels):
    return head.decode([torch.from_numpy(level).permute(0, 1, 3, 4, 2) for level in levels]).numpy()


def test_all_cells_are_those_of_the_head(head, geometry):
    """Another exp of the same accuracy: a few units in the last place."""
    levels = raw_levels()
    expected = decoded_by_head(head, levels)
    found = decode_chosen([cells_above(level, -np.inf) for level in levels], geometry, 2)
    for picture, rows in zip(found, expected, strict=True):
        np.testing.assert_array_equal(picture.numbers, np.arange(len(rows)))
        np.testing.assert_allclose(picture.rows, rows, rtol=2e-6, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000), st.sampled_from([0.0, 1e-6, 0.001, 0.25, 0.5, 0.999999, 1.0]))
def test_no_cell_above_the_threshold_is_missed(seed, conf_threshold):
    head = Detect(CLASSES, ANCHORS, STRIDES, (4, 4), anchor_grid=False)
    geometry = HeadGeometry(head.strides, head.anchors_px().numpy(), head.classes)
    levels = raw_levels(seed, scale=8.0)
    chosen = NmsSettings(conf_threshold=conf_threshold, iou_threshold=0.5, max_detections=10_000)
    everything = decode_chosen([cells_above(level, -np.inf) for level in levels], geometry, 2)
    some = decode_chosen(
        [cells_above(level, logit_threshold(conf_threshold)) for level in levels], geometry, 2
    )
    for all_rows, few_rows in zip(everything, some, strict=True):
        expected = suppress(all_rows.rows, chosen)
        result = suppress(few_rows.rows, chosen, few_rows.numbers)
        np.testing.assert_array_equal(result.detections, expected.detections)
        np.testing.assert_array_equal(result.rows, expected.rows)


THRESHOLDS = [1e-6, 0.001, 0.01, 0.1, 0.25, 0.3, 0.5, 0.500001, 0.6, 0.9, 0.99, 0.999, 0.999999, 0.9999999]


@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("conf_threshold", THRESHOLDS)
def test_the_raw_threshold_is_a_lower_bound_in_every_precision(precision, conf_threshold):
    """Values on both sides of the threshold, through the same two comparisons as in use."""
    logit = np.log(conf_threshold / (1 - conf_threshold))
    around = torch.linspace(logit - 0.5, logit + 0.5, 20_001, dtype=torch.float64).to(precision)
    (decoded,) = decode_chosen([ChosenCells(logits_of(around), places(len(around)), (1, 1))], ONE_CELL, 1)
    above = decoded.rows[:, 4] > np.float32(conf_threshold)
    raw = logit_threshold(conf_threshold)
    assert not (above & (around <= raw).numpy()).any()
    if precision is not torch.bfloat16:  # NumPy has no such type
        assert not (above & (around.numpy() <= raw)).any()


def logits_of(objectness):
    logits = np.zeros((len(objectness), 5 + CLASSES), np.float32)
    logits[:, 4] = objectness.float().numpy()
    return logits


def places(count):
    nothing = np.zeros(count, np.int64)
    return nothing, nothing, nothing, nothing


def test_pictures_of_a_batch_do_not_mix(geometry):
    levels = raw_levels(batch=5)
    threshold = logit_threshold(0.3)
    together = decode_chosen([cells_above(level, threshold) for level in levels], geometry, 5)
    for number, picture in enumerate(together):
        (alone,) = decode_chosen(
            [cells_above(level[number : number + 1], threshold) for level in levels], geometry, 1
        )
        np.testing.assert_array_equal(picture.rows, alone.rows)
        np.testing.assert_array_equal(picture.numbers, alone.numbers)


def test_nothing_above_the_threshold(geometry):
    found = decode_chosen([cells_above(level, np.inf) for level in raw_levels()], geometry, 2)
    assert [picture.rows.shape for picture in found] == [(0, 5 + CLASSES)] * 2


def test_what_is_not_a_number_is_seen(geometry):
    levels = raw_levels()
    levels[1][1, 2, 4, 3, 1] = np.nan
    found = decode_chosen([cells_above(level, np.inf) for level in levels], geometry, 2)
    assert [len(picture.rows) for picture in found] == [0, 1]
    assert suppress(found[1].rows, NmsSettings()).non_finite_rows == 1


def test_extreme_values_raise_no_warning(geometry):
    levels = raw_levels(scale=1e5)
    found = decode_chosen([cells_above(level, 0.0) for level in levels], geometry, 2)
    assert all(np.isfinite(picture.rows).all() for picture in found)


def test_thresholds_at_the_ends():
    assert logit_threshold(0.0) == -np.inf
    assert logit_threshold(1.0) == np.inf
    assert logit_threshold(0.5) == pytest.approx(0, abs=1e-2)
