from __future__ import annotations

import numpy as np
import pytest

from tests.evaluate.boxes_made import draw, predictions_of, truth_made
from vedette.evaluate.packed import (
    judged_predictions,
    keep_predictions,
    keep_truth,
    offsets_of,
    partly_labelled,
    row_images,
    single_class_truth,
    truth_of,
)


def test_rows_and_offsets() -> None:
    assert offsets_of([2, 0, 1]).tolist() == [0, 2, 2, 3]
    assert row_images(np.array([0, 2, 2, 3])).tolist() == [0, 0, 2]
    assert offsets_of([]).tolist() == [0]


def test_packing_keeps_order_and_types() -> None:
    predictions = predictions_of([[[0, 0, 1, 1, 0.9, 1], [0, 0, 2, 2, 0.8, 0]], [], [[0, 0, 3, 3, 0.7, 2]]])
    assert predictions.offsets.tolist() == [0, 2, 2, 3]
    assert predictions.image_rows().tolist() == [0, 0, 2]
    assert predictions.class_ids.tolist() == [1, 0, 2]
    assert predictions.boxes_xyxy_px.dtype == predictions.scores.dtype == np.float32
    assert len(predictions_of([]).scores) == 0


@pytest.mark.parametrize("positions", [None, [], [4], [5, 0, 2], list(range(6))])
def test_truth_of_some_pictures(positions: list[int] | None) -> None:
    """A Truth has the packed fields of an index, so one can stand in for the other."""
    _, whole = draw(0, images=6)
    index = _WithLength(whole)
    chosen = list(range(6)) if positions is None else positions
    truth = truth_of(index, positions)  # type: ignore[arg-type]
    assert truth.image_ids.tolist() == [whole.image_ids[place] for place in chosen]
    for number, place in enumerate(chosen):
        rows = slice(*truth.offsets[number : number + 2])
        expected = slice(*whole.offsets[place : place + 2])
        for name in ("boxes_xyxy_px", "class_ids", "ignored", "areas"):
            np.testing.assert_array_equal(getattr(truth, name)[rows], getattr(whole, name)[expected])


class _WithLength:
    partly_labelled = False

    def __init__(self, truth: object) -> None:
        self._truth = truth

    def __len__(self) -> int:
        return 6

    def __getattr__(self, name: str) -> object:
        return getattr(self._truth, name)


def test_keeping_rows_keeps_pictures() -> None:
    predictions, truth = draw(1, images=5)
    some = keep_predictions(predictions, predictions.scores > 0.5)
    assert len(some.offsets) == len(predictions.offsets)
    np.testing.assert_array_equal(some.image_rows(), predictions.image_rows()[predictions.scores > 0.5])
    wanted = keep_truth(truth, ~truth.ignored)
    np.testing.assert_array_equal(wanted.image_rows(), truth.image_rows()[~truth.ignored])
    assert len(wanted.image_ids) == 5


def test_counts_by_class_leave_ignored_boxes_out() -> None:
    truth = truth_made(
        [[[0, 0, 0, 1, 1], [0, 2, 2, 3, 3], [1, 0, 0, 1, 1]], [], [[0, 0, 0, 1, 1]]],
        ignored=[False, False, True, False],
    )
    assert truth.instances(3).tolist() == [3, 0, 0]
    assert truth.images_with(3).tolist() == [2, 0, 0]


def test_only_labelled_classes_are_judged() -> None:
    """Picture 0 has all classes labelled, picture 1 only class 1."""
    truth = truth_made([[[0, 0, 0, 9, 9], [1, 0, 0, 9, 9]], [[0, 0, 0, 9, 9], [1, 0, 0, 9, 9]]])
    rows = [[0, 0, 9, 9, 0.9, 0], [0, 0, 9, 9, 0.8, 1]]
    predictions = predictions_of([rows, rows])
    assert judged_predictions(predictions, truth) is predictions
    assert single_class_truth(truth).labelled is None
    partly = partly_labelled(truth, np.array([[True, True], [False, True]]))
    assert partly.ignored.tolist() == [False, False, True, False]
    judged = judged_predictions(predictions, partly)
    assert judged.offsets.tolist() == [0, 2, 3]
    assert judged.class_ids.tolist() == [0, 1, 1]
    assert partly.instances(2).tolist() == [1, 2]
    single = single_class_truth(partly)
    assert single.class_ids.tolist() == [0, 0, 0, 0]
    assert single.ignored.tolist() == [False, False, True, True]
    assert single.labelled is not None
    assert single.labelled.tolist() == [[True], [False]]
    kept = keep_truth(partly, ~partly.ignored)
    assert kept.labelled is partly.labelled
