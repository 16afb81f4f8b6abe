from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from tests.evaluate.boxes_made import draw, predictions_of, truth_made
from tests.evaluate.coco_twin import evaluate_by_pycocotools
from vedette.core.boxes import clip_boxes, cxcywh_to_xyxy
from vedette.evaluate.match import YOLOV5_THRESHOLDS, match_coco, match_yolov5, overlapping_pairs
from vedette.evaluate.metrics import summarize_yolov5
from vedette.evaluate.packed import Predictions, Truth


def _matched_by_pycocotools(
    predictions: Predictions, truth: Truth, classes: int, threshold_number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row of the true box found (-1: none), and whether that is ignored."""
    evaluation = evaluate_by_pycocotools(predictions, truth, classes)
    found = np.full(len(predictions.scores), -1)
    ignored = np.zeros(len(predictions.scores), np.bool_)
    for record in evaluation.evalImgs[: classes * len(truth.image_ids) * 4]:
        if record is None or record["aRng"] != evaluation.params.areaRng[0]:
            continue
        rows = np.array(record["dtIds"], np.int64) - 1
        found[rows] = record["dtMatches"][threshold_number].astype(np.int64) - 1
        ignored[rows] = record["dtIgnore"][threshold_number].astype(bool)
    return found, ignored


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    threshold=st.sampled_from([0, 5, 9]),
    crowd=st.sampled_from([0.0, 0.2, 0.6]),
    images=st.integers(1, 12),
)
def test_matching_equals_pycocotools(seed: int, threshold: int, crowd: float, images: int) -> None:
    predictions, truth = draw(seed, images=images, crowd=crowd)
    expected, ignored = _matched_by_pycocotools(predictions, truth, 4, threshold)
    matches = match_coco(predictions, truth, float(np.linspace(0.5, 0.95, 10)[threshold]))
    np.testing.assert_array_equal(matches.truth, expected)
    np.testing.assert_array_equal(matches.ignored, ignored)


def test_equal_overlap_goes_to_the_later_box_and_duplicates_stay_free() -> None:
    truth = truth_made([[[0, 0, 0, 10, 10], [0, 0, 0, 10, 10]]])
    predictions = predictions_of([[[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 10, 0.8, 0], [0, 0, 10, 10, 0.7, 0]]])
    matches = match_coco(predictions, truth)
    assert matches.truth.tolist() == [1, 0, -1]
    assert matches.correct.tolist() == [True, True, False]


def test_a_crowd_takes_any_number_and_counts_neither_way() -> None:
    """Both predictions lie inside the crowd: their IoU with it is 0.01, the covered part 1."""
    truth = truth_made([[[0, 0, 0, 100, 100]]], ignored=[True])
    predictions = predictions_of([[[0, 0, 10, 10, 0.9, 0], [50, 50, 60, 60, 0.8, 0]]])
    matches = match_coco(predictions, truth)
    assert matches.ignored.all()
    assert not matches.correct.any()


def test_nothing_matches_nothing() -> None:
    for predictions, truth in [
        (predictions_of([[], []]), truth_made([[], [[0, 0, 0, 9, 9]]])),
        (predictions_of([[[0, 0, 9, 9, 0.5, 0]]]), truth_made([[]])),
        (predictions_of([]), truth_made([])),
    ]:
        assert len(overlapping_pairs(predictions, truth, 0.5).overlap) == 0
        assert (match_coco(predictions, truth).truth == -1).all()
        assert not match_yolov5(predictions, truth).any()


def test_empty_boxes_have_no_overlap() -> None:
    truth = truth_made([[[0, 5, 5, 5, 5], [0, 0, 0, 9, 9]]], ignored=[False, True])
    pairs = overlapping_pairs(predictions_of([[[5, 5, 5, 5, 0.9, 0]]]), truth, 1e-9)
    assert len(pairs.overlap) == 0


def _golden_case(case: dict) -> tuple[Predictions, Truth]:
    """Predictions and labels in picture pixels, in float32 as the reference computes them."""
    given = case["input"]
    found, wanted = [], []
    for image in given["images"]:
        pad = np.array(image["pad"] * 2, np.float32)
        gain, size_hw = np.float32(image["gain"][0]), tuple(image["hw0"])
        rows = np.array(image["preds"], np.float32).reshape(-1, 6)
        boxes = clip_boxes((rows[:, :4] - pad) / gain, size_hw)
        found.append(np.concatenate([boxes, rows[:, 4:]], axis=1).tolist())
        labels = np.array(image["labels"], np.float32).reshape(-1, 5)
        frame = np.array(given["batch_hw"][::-1] * 2, np.float32)
        true = clip_boxes((cxcywh_to_xyxy(labels[:, 1:] * frame) - pad) / gain, size_hw)
        wanted.append(np.concatenate([labels[:, :1], true], axis=1).tolist())
    return predictions_of(found), truth_made(wanted)


@pytest.mark.parametrize(
    "case", read_golden("training/07-matching.json")["cases"], ids=lambda case: case["id"]
)
def test_reference_matching_golden(case: dict) -> None:
    """golden 07-matching.json: true positives exactly, figures to 1e-5 relative (the file's own advice)."""
    predictions, truth = _golden_case(case)
    correct = match_yolov5(predictions, truth)
    expected = case["expected"]
    if isinstance(expected["correct"], str):
        assert not correct.any()
    else:
        np.testing.assert_array_equal(correct, expected["correct"])
        np.testing.assert_array_equal(predictions.class_ids, expected["pred_cls"])
    summary = summarize_yolov5(correct, predictions, truth.class_ids, case["input"]["nc"])
    results = expected["results"]
    found = [summary.precision, summary.recall, summary.map50, summary.map]
    np.testing.assert_allclose(found, [results[key] for key in ("mp", "mr", "map50", "map")], rtol=1e-5)
    np.testing.assert_allclose(summary.maps, expected["maps"], rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_reference_matching_equals_its_plain_twin(seed: int) -> None:
    predictions, truth = draw(seed, images=8, crowd=0.0)
    truth = replace(truth, boxes_xyxy_px=truth.boxes_xyxy_px.astype(np.float32).astype(np.float64))
    np.testing.assert_array_equal(match_yolov5(predictions, truth), _plain_match_yolov5(predictions, truth))


def _plain_match_yolov5(predictions: Predictions, truth: Truth) -> np.ndarray:
    """evaluation.md section 3, one prediction after the other."""
    correct = np.zeros((len(predictions.scores), 10), np.bool_)
    taken: set[int] = set()
    wanted_in = truth.image_rows()
    for row, image in enumerate(predictions.image_rows()):
        best, best_iou = -1, np.float32(0)
        for target in np.flatnonzero((wanted_in == image) & (truth.class_ids == predictions.class_ids[row])):
            iou = _iou(predictions.boxes_xyxy_px[row], truth.boxes_xyxy_px[target].astype(np.float32))
            if iou > best_iou:
                best, best_iou = int(target), iou
        if best_iou > 0.5 and best not in taken:
            taken.add(best)
            correct[row] = best_iou > YOLOV5_THRESHOLDS
    return correct


def _iou(a: np.ndarray, b: np.ndarray) -> np.float32:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (sides <= 0).any():
        return np.float32(0)
    inter = sides[0] * sides[1]
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)
