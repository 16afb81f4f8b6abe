from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from tests.evaluate.boxes_made import draw, predictions_of, truth_made
from vedette.evaluate.match import match_coco
from vedette.evaluate.metrics import (
    CONFIDENCE_GRID,
    OperatingPoint,
    ap_per_class_yolov5,
    best_common_point,
    compute_ap_yolov5,
    confidence_curves,
    fitness_yolov5,
    summarize_yolov5,
)


def _curves(predictions, truth, classes):
    undefined = np.full((classes, 101), np.nan)
    return confidence_curves(predictions, match_coco(predictions, truth), truth.instances(classes), undefined)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_curves_equal_plain_counting(seed: int) -> None:
    predictions, truth = draw(seed, images=8, crowd=0.2)
    matches = match_coco(predictions, truth)
    curves, points = _curves(predictions, truth, 4)
    counted = ~matches.ignored
    for class_id in range(4):
        instances = int(((truth.class_ids == class_id) & ~truth.ignored).sum())
        mine = (predictions.class_ids == class_id) & counted
        for place in range(0, 1001, 77):
            kept = mine & (predictions.scores.astype(np.float64) >= CONFIDENCE_GRID[place])
            right, total = int(matches.correct[kept].sum()), int(kept.sum())
            expected = [
                right / total if total else np.nan,
                right / instances if instances else np.nan,
                2 * right / (total + instances) if instances else np.nan,
            ]
            found = [line[class_id, place] for line in (curves.precision, curves.recall, curves.f1)]
            np.testing.assert_allclose(found, expected, rtol=1e-12)
        point = points[class_id]
        if instances and mine.any():
            f1_at = []
            for score in np.unique(predictions.scores[mine]):
                kept = mine & (predictions.scores >= score)
                f1_at.append(2 * matches.correct[kept].sum() / (kept.sum() + instances))
            assert point.f1 == pytest.approx(max(f1_at), rel=1e-12)
            kept = mine & (predictions.scores >= np.float32(point.confidence))
            assert point.precision == pytest.approx(matches.correct[kept].sum() / kept.sum(), rel=1e-12)
            assert point.recall == pytest.approx(matches.correct[kept].sum() / instances, rel=1e-12)


def test_equal_scores_are_kept_or_left_together() -> None:
    """A right and a wrong box of one score: no threshold keeps only the right one."""
    truth = truth_made([[[0, 0, 0, 10, 10]]])
    predictions = predictions_of([[[0, 0, 10, 10, 0.5, 0], [50, 50, 60, 60, 0.5, 0]]])
    _, (point,) = _curves(predictions, truth, 1)
    assert point == OperatingPoint(confidence=0.5, precision=0.5, recall=1.0, f1=pytest.approx(2 / 3))


def test_best_common_point_is_a_mean_over_classes_with_boxes() -> None:
    """Class 0: perfect from score 0.8 down; class 1: found at 0.4 only; class 2 has no boxes."""
    truth = truth_made([[[0, 0, 0, 10, 10], [1, 20, 20, 30, 30]]])
    rows = [[0, 0, 10, 10, 0.8, 0], [20, 20, 30, 30, 0.4, 1], [50, 50, 60, 60, 0.9, 2]]
    curves, points = _curves(predictions_of([rows]), truth, 3)
    assert points[2] == OperatingPoint(None, None, None, None)
    common = best_common_point(curves)
    assert (common.precision, common.recall, common.f1) == (1.0, 1.0, 1.0)
    assert common.confidence == 0.0


def test_without_boxes_or_predictions() -> None:
    curves, points = _curves(predictions_of([[]]), truth_made([[[0, 0, 0, 9, 9]]]), 2)
    assert points == (OperatingPoint(None, None, 0.0, 0.0), OperatingPoint(None, None, None, None))
    assert best_common_point(curves) == OperatingPoint(0.0, None, 0.0, 0.0)
    curves, _ = _curves(predictions_of([[[0, 0, 9, 9, 0.5, 0]]]), truth_made([[]]), 1)
    assert best_common_point(curves) == OperatingPoint(None, None, None, None)
    curves, points = _curves(predictions_of([]), truth_made([]), 0)
    assert points == ()
    assert best_common_point(curves) == OperatingPoint(None, None, None, None)


def test_curves_are_json_ready() -> None:
    curves, _ = _curves(*draw(0, images=4), 4)
    record = json.loads(json.dumps(curves.to_dict(), allow_nan=False))
    assert record["recall"][3] == [None] * 1001
    assert record["confidence"][500] == 0.5


@pytest.mark.parametrize(
    "case", read_golden("training/01-fitness.json")["cases"], ids=lambda case: case["id"]
)
def test_fitness_golden(case: dict) -> None:
    """golden 01-fitness.json; 1e-12: the sum of two products in float64."""
    assert fitness_yolov5(case["input"]) == pytest.approx(case["expected"], rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    "case", read_golden("training/05-ap-per-class.json")["cases"], ids=lambda case: case["id"]
)
def test_ap_per_class_golden(case: dict) -> None:
    """golden 05-ap-per-class.json; 1e-9: float64 throughout, sums in another order."""
    given, expected = case["input"], case["expected"]
    result = ap_per_class_yolov5(
        np.array(given["tp"], np.bool_), given["conf"], given["pred_cls"], given["target_cls"]
    )
    assert result.class_ids.tolist() == expected["classes"]
    for found, name in [(result.precision, "p"), (result.recall, "r"), (result.f1, "f1"), (result.ap, "ap")]:
        np.testing.assert_allclose(found, expected[name], rtol=1e-9, atol=1e-12)
    means = [result.precision.mean(), result.recall.mean(), result.ap[:, 0].mean(), result.ap.mean()]
    np.testing.assert_allclose(means, expected["mean"], rtol=1e-9)


@pytest.mark.parametrize(
    "case", read_golden("training/06-compute-ap.json")["cases"], ids=lambda case: case["id"]
)
def test_compute_ap_golden(case: dict) -> None:
    """golden 06-compute-ap.json; 1e-12: float64 throughout."""
    ap, envelope, levels = compute_ap_yolov5(case["input"]["recall"], case["input"]["precision"])
    assert ap == pytest.approx(case["expected"]["ap"], rel=1e-12)
    np.testing.assert_allclose(envelope, case["expected"]["mpre"], rtol=1e-12)
    np.testing.assert_allclose(levels, case["expected"]["mrec"], rtol=1e-12)


def test_reference_summary_gives_missing_classes_the_overall_ap() -> None:
    predictions = predictions_of([[[0, 0, 10, 10, 0.9, 0]]])
    summary = summarize_yolov5(np.ones((1, 10), np.bool_), predictions, np.array([0]), 3)
    np.testing.assert_allclose(summary.maps, [1.0, 1.0, 1.0])
    assert summary.to_dict() == {"precision": 1.0, "recall": 1.0, "map50": 1.0, "map": 1.0}
