"""Suppression of arrays: golden nms.json; the same bits as that of tensors; edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from tests.core.test_nms_torch import assert_detections, prediction_of, settings_of
from vedette.core import nms as subject
from vedette.core import nms_torch
from vedette.core.iou import pairwise_iou as pairwise_iou_torch
from vedette.core.nms import NmsSettings, pairwise_iou, suppress
from vedette.errors import ModelError

CASES = {
    case["name"]: case
    for case in read_golden("spec/nms.json")["cases"]
    if "prediction" in case and "labels" not in case["args"]
}


@pytest.mark.parametrize("class_offset", [4096.0, None])
@pytest.mark.parametrize("name", CASES)
def test_golden(name, class_offset):
    """spec/nms.json; a-priori labels are a matter of tensors."""
    case = CASES[name]
    prediction = prediction_of(case).numpy()
    before = prediction.copy()
    for picture, expected in zip(prediction, case["out"], strict=True):
        result = suppress(picture, settings_of(case["args"], class_offset=class_offset))
        assert result.detections.dtype == np.float32
        assert_detections(torch.from_numpy(result.detections), expected)
        assert result.complete
    np.testing.assert_array_equal(prediction, before)


def crowded(rows, classes, seed):
    """Boxes that overlap in clusters, scores with ties."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(20, 300, (max(rows // 6, 1), 2))[rng.integers(0, max(rows // 6, 1), rows)]
    boxes = np.concatenate((centres + rng.normal(0, 5, (rows, 2)), rng.uniform(0, 60, (rows, 2))), axis=1)
    scores = np.round(rng.uniform(0, 1, (rows, 1 + classes)), 2)
    return np.concatenate((boxes, scores), axis=1).astype(np.float32)


@settings(deadline=None, max_examples=120)
@given(
    rows=st.integers(0, 700),
    classes=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    chosen=st.builds(
        NmsSettings,
        conf_threshold=st.sampled_from([0.0, 0.001, 0.25, 0.9, 1.0]),
        iou_threshold=st.sampled_from([0.0, 0.3, 0.45, 0.65, 1.0]),
        agnostic=st.booleans(),
        multi_label=st.booleans(),
        max_candidates=st.sampled_from([7, 300, 30_000]),
        max_detections=st.sampled_from([1, 20, 300]),
        class_offset=st.sampled_from([None, 4096.0]),
    ),
)
def test_the_same_bits_as_tensors(rows, classes, seed, chosen):
    predictions = crowded(rows, classes, seed)
    (expected,) = nms_torch.suppress(torch.from_numpy(predictions)[None], chosen)
    result = suppress(predictions, chosen)
    np.testing.assert_array_equal(result.detections, expected.detections.numpy())
    np.testing.assert_array_equal(result.rows, expected.rows.numpy())
    assert result.complete == expected.complete


@pytest.mark.parametrize("class_offset", [None, 4096.0])
@pytest.mark.parametrize("seed", range(4))
def test_merge_as_with_tensors(seed, class_offset):
    """Sums of products are added in another order: float32 rounding of pixels."""
    chosen = NmsSettings(merge=True, class_offset=class_offset)
    predictions = crowded(200, 3, seed)
    (expected,) = nms_torch.suppress(torch.from_numpy(predictions)[None], chosen)
    result = suppress(predictions, chosen)
    np.testing.assert_allclose(result.detections, expected.detections.numpy(), atol=1e-3)
    np.testing.assert_array_equal(result.rows, expected.rows.numpy())


@pytest.mark.parametrize("block", [1, 2, 7, 256])
def test_blocks_do_not_matter(block, monkeypatch):
    predictions = crowded(300, 2, 5)
    expected = suppress(predictions, NmsSettings(max_detections=1000))
    monkeypatch.setattr(subject, "_BLOCK", block)
    result = suppress(predictions, NmsSettings(max_detections=1000))
    np.testing.assert_array_equal(result.rows, expected.rows)


def test_pairwise_iou_has_the_bits_of_tensors():
    boxes = np.random.default_rng(0).uniform(-50, 50, (60, 4)).astype(np.float32)
    boxes[:3] = [[1, 1, 1, 1], [1e30, 1e30, 3e30, 3e30], [np.nan, 0, 1, 1]]
    expected = pairwise_iou_torch(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    np.testing.assert_array_equal(pairwise_iou(boxes, boxes), expected)


@pytest.mark.parametrize("column", range(7))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_rows_are_left_out_and_counted(column, value):
    predictions = np.array([[10, 10, 4, 4, 0.9, 0.8, 0.1], [50, 50, 4, 4, 0.9, 0.8, 0.1]], dtype=np.float32)
    predictions[0, column] = value
    result = suppress(predictions, NmsSettings())
    assert result.non_finite_rows == 1
    assert result.rows.tolist() == [1]


def test_rows_may_have_other_numbers():
    predictions = crowded(50, 2, 1)
    numbers = np.arange(50) * 10 + 3
    plain, renamed = suppress(predictions, NmsSettings()), suppress(predictions, NmsSettings(), numbers)
    np.testing.assert_array_equal(renamed.rows, plain.rows * 10 + 3)


def test_nothing_in_nothing_out():
    result = suppress(np.zeros((0, 7), dtype=np.float32), NmsSettings())
    assert result.detections.shape == (0, 6)
    assert result.rows.shape == (0,)
    assert result.complete


def test_inputs_are_checked():
    with pytest.raises(ModelError, match=r"\[N, 5 \+ classes\]"):
        suppress(np.zeros((3, 5), dtype=np.float32), NmsSettings())
    with pytest.raises(ModelError, match="0 to 1"):
        suppress(np.zeros((3, 7), dtype=np.float32), NmsSettings(class_ids=(2,)))
