from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.conftest import GOLDEN
from vedette.errors import ModelError
from vedette.model.anchors import (
    DEFAULT_ANCHORS_P5,
    measure_anchors,
    placeholder_anchors,
    ratio_metric,
    read_anchors,
)

CASES = json.loads((GOLDEN / "training" / "10-anchor-metric.json").read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_metric(case: dict[str, Any]) -> None:
    """golden-training 10-anchor-metric; 1e-6: the file holds float32 values."""
    given, expected = case["input"], case["expected"]
    frames = [
        np.array(size) * given["imgsz"] / max(size)  # longest side of every picture scaled to imgsz
        for size in given["image_sizes_wh"]
    ]
    labels = given["label_wh_normalized"]
    sizes = np.concatenate([np.array(wh) * frame for wh, frame in zip(labels, frames, strict=True)])
    np.testing.assert_allclose(sizes, expected["wh_px"])
    anchors = np.array(given["anchors_px"], dtype=float)
    metric = ratio_metric(sizes, anchors)
    np.testing.assert_allclose(metric, expected["ratio_metric"], atol=1e-6)
    np.testing.assert_allclose(metric.max(axis=1), expected["best"], atol=1e-6)
    fit = measure_anchors(sizes, anchors, given["thr"])
    assert fit.best_possible_recall == pytest.approx(expected["bpr"], abs=1e-6)
    assert fit.anchors_above_threshold == pytest.approx(expected["aat"], abs=1e-6)


def test_metric_is_symmetric_and_one_for_equal_sizes() -> None:
    sizes = np.random.default_rng(0).uniform(1, 500, (20, 2))
    metric = ratio_metric(sizes, sizes)
    np.testing.assert_allclose(metric, metric.T)
    np.testing.assert_allclose(np.diag(metric), 1.0)


@pytest.mark.parametrize(
    "sizes", [np.zeros((0, 2)), np.ones((3, 4)), np.array([[1.0, 0.0]]), np.array([[1.0, np.nan]])]
)
def test_boxes_that_cannot_be_measured(sizes: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"^anchors: "):
        measure_anchors(sizes, np.ones((3, 2)))


def test_read_anchors_takes_pairs_and_published_lists() -> None:
    flat = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
    assert read_anchors(flat, "a") == DEFAULT_ANCHORS_P5
    assert (
        read_anchors([[list(pair) for pair in level] for level in DEFAULT_ANCHORS_P5], "a")
        == DEFAULT_ANCHORS_P5
    )
    assert read_anchors(4, "a") == 4


@pytest.mark.parametrize(
    "value",
    [
        0,
        101,
        True,
        [],
        [[1, 2, 3]],
        [[1, 2], [1, 2, 3, 4]],
        [[1, -2]],
        [["1", 2]],
        [[[1, 2, 3]]],
        "auto",
        None,
        [[float("nan"), 1]],
    ],
)
def test_read_anchors_refuses_the_rest(value: object) -> None:
    with pytest.raises(ModelError, match=r"^here"):
        read_anchors(value, "here")


def test_placeholders_count_up() -> None:
    assert placeholder_anchors(2, 3) == (((0, 1), (2, 3), (4, 5)),) * 2
