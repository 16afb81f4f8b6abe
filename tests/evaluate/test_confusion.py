from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from tests.evaluate.boxes_made import draw, predictions_of, truth_made
from vedette.evaluate.confusion import confusion_matrix, confusion_yolov5
from vedette.evaluate.match import overlapping_pairs

GOLDEN = read_golden("training/09-confusion-matrix.json")["cases"]
PLAIN = [case for case in GOLDEN if "detections" in case["input"]]
INSIDE_TEST = next(case for case in GOLDEN if "images" in case["input"])


def _case(case: dict):
    given = case["input"]
    return predictions_of([given["detections"]]), truth_made([given["labels"]]), given["nc"]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case["id"])
def test_reference_counts_golden(case: dict) -> None:
    """golden 09-confusion-matrix.json: exact, they are counts."""
    predictions, truth, classes = _case(case)
    expected = case["expected"]["matrix_rows_true_cols_pred"]
    np.testing.assert_array_equal(confusion_yolov5(predictions, truth, classes), expected)


def test_reference_mixes_network_and_picture_pixels_golden() -> None:
    """golden 09-confusion-matrix.json, T09.6: boxes as the reference passes them on; ours are all native."""
    expected = INSIDE_TEST["expected"]
    found, labels = expected["detections_passed"], expected["labels_passed"]
    counts = confusion_yolov5(predictions_of([found]), truth_made([labels]), 1)
    np.testing.assert_array_equal(counts, expected["matrix_rows_true_cols_pred"])
    native = [[*(2 * value for value in found[0][:4]), *found[0][4:]]]
    done_right = confusion_matrix(predictions_of([native]), truth_made([labels]), ["a"])
    assert done_right.counts.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case["id"])
def test_ours_differs_from_the_reference_only_where_it_omits(case: dict) -> None:
    """golden 09-confusion-matrix.json: T09.2 lacks the false detection there; the other cases agree."""
    predictions, truth, classes = _case(case)
    expected = np.array(case["expected"]["matrix_rows_true_cols_pred"])
    if case["id"] == "T09.2":
        expected[classes, 1] += 1
    found = confusion_matrix(predictions, truth, [str(number) for number in range(classes)])
    np.testing.assert_array_equal(found.counts, expected)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), confidence=st.sampled_from([0.05, 0.25, 0.6]))
def test_equals_its_plain_twin_and_counts_everything(seed: int, confidence: float) -> None:
    predictions, truth = draw(seed, images=8, crowd=0.2)
    found = confusion_matrix(predictions, truth, list("abcd"), confidence)
    np.testing.assert_array_equal(found.counts, _plain(predictions, truth, 4, confidence))
    wanted = np.bincount(truth.class_ids[~truth.ignored], minlength=4)
    np.testing.assert_array_equal(found.counts[:4].sum(axis=1), wanted)
    assert found.counts[4, 4] == 0


def _plain(predictions, truth, classes, confidence):
    """One pair after the other, the best first."""
    pairs = overlapping_pairs(predictions, truth, 0.01)
    strong = predictions.scores > confidence
    order = sorted(
        range(len(pairs.overlap)),
        key=lambda k: (
            -pairs.overlap[k],
            predictions.class_ids[pairs.prediction[k]] != truth.class_ids[pairs.truth[k]],
            -predictions.scores[pairs.prediction[k]],
            pairs.prediction[k],
            pairs.truth[k],
        ),
    )
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    used, found, on_crowd = set(), set(), set()
    for k in order:
        row, target = int(pairs.prediction[k]), int(pairs.truth[k])
        if pairs.overlap[k] <= 0.45 or not strong[row]:
            continue
        if truth.ignored[target]:
            on_crowd.add(row)
        elif row not in used and target not in found:
            used.add(row)
            found.add(target)
            counts[truth.class_ids[target], predictions.class_ids[row]] += 1
    for target in set(np.flatnonzero(~truth.ignored).tolist()) - found:
        counts[truth.class_ids[target], classes] += 1
    for row in set(np.flatnonzero(strong).tolist()) - used - on_crowd:
        counts[classes, predictions.class_ids[row]] += 1
    return counts


def test_pictures_without_boxes_or_without_predictions_count() -> None:
    predictions = predictions_of([[], [[0, 0, 10, 10, 0.9, 1]], []])
    truth = truth_made([[[0, 0, 0, 10, 10]], [], []])
    assert confusion_matrix(predictions, truth, ["a", "b"]).counts.tolist() == [
        [0, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
    ]
    assert confusion_yolov5(predictions, truth, 2).sum() == 0


def test_a_box_that_lost_its_true_box_gets_the_next() -> None:
    """Both predictions prefer the first true box; the weaker overlap still finds the second."""
    truth = truth_made([[[0, 0, 0, 20, 10], [0, 4, 0, 24, 10]]])
    predictions = predictions_of([[[0, 0, 20, 10, 0.9, 0], [1, 0, 21, 10, 0.8, 0]]])
    assert confusion_matrix(predictions, truth, ["a"]).counts.tolist() == [[2, 0], [0, 0]]
    assert confusion_yolov5(predictions, truth, 1).tolist() == [[1, 1], [1, 0]]


def test_axes_are_named_and_rows_normalised() -> None:
    predictions = predictions_of([[[0, 0, 10, 10, 0.9, 1], [50, 50, 60, 60, 0.9, 1]]])
    truth = truth_made([[[0, 0, 0, 10, 10], [0, 80, 80, 90, 90]]])
    matrix = confusion_matrix(predictions, truth, ["a", "b"], 0.3)
    np.testing.assert_allclose(matrix.normalised(), [[0, 0.5, 0.5], [0, 0, 0], [0, 1, 0]])
    record = json.loads(json.dumps(matrix.to_dict()))
    assert record["rows_true"] == record["columns_predicted"] == ["a", "b", "background"]
    assert record["counts"] == [[0, 1, 1], [0, 0, 0], [0, 1, 0]]
    assert record["confidence"] == 0.3
