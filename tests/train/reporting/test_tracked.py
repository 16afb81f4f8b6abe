"""What trackers are told besides figures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vedette.config.train import TrainConfig
from vedette.core.picture_format import PictureFormat
from vedette.evaluate.packed import Predictions, Truth, offsets_of
from vedette.train.reporting.tracked import MAX_BOXES, MIN_SCORE, found_picture, pictures_are_due

NAMES = ("red", "blue")


def _evaluation(scores: list[float]) -> Any:
    """Two pictures; all predictions are in the second, which has two true boxes, one of them ignored."""
    count = len(scores)
    truth = Truth(
        offsets=offsets_of([0, 2]),
        boxes_xyxy_px=np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float64),
        class_ids=np.array([1, 0]),
        ignored=np.array([False, True]),
        areas=np.ones(2),
        image_ids=np.array([1, 2]),
        sizes_hw=np.array([[10, 20], [30, 40]]),
    )
    found = Predictions(
        offsets=offsets_of([0, count]),
        boxes_xyxy_px=np.tile(np.array([[1, 1, 2, 2]], np.float32), (count, 1)),
        scores=np.array(scores, np.float32),
        class_ids=np.zeros(count, np.int64),
    )
    return SimpleNamespace(
        truth=truth, predictions=found, image_paths=("a.png", "b.png"), picture_format=PictureFormat(1, 16)
    )


def test_a_picture_with_its_boxes() -> None:
    picture = found_picture(_evaluation([0.5, MIN_SCORE / 2]), NAMES, 1)
    assert (picture.path, picture.size_hw) == (Path("b.png"), (30, 40))
    assert picture.picture_format == PictureFormat(1, 16)
    assert picture.true_boxes == ({"box_xyxy": [1.0, 2.0, 3.0, 4.0], "class_id": 1, "class_name": "blue"},)
    assert picture.found_boxes == (
        {"box_xyxy": [1.0, 1.0, 2.0, 2.0], "class_id": 0, "class_name": "red", "score": 0.5},
    )


def test_the_number_of_boxes_is_bounded_and_a_picture_may_have_none() -> None:
    evaluation = _evaluation([0.9] * (MAX_BOXES + 5))
    assert len(found_picture(evaluation, NAMES, 1).found_boxes) == MAX_BOXES
    empty = found_picture(evaluation, NAMES, 0)
    assert empty.true_boxes == empty.found_boxes == ()


@pytest.mark.parametrize(
    ("interval", "count", "due"),
    [(-1, 16, []), (0, 16, []), (2, 16, [2, 4]), (1, 16, [1, 2, 3, 4]), (2, 0, [])],
)
def test_when_pictures_are_due(interval: int, count: int, due: list[int]) -> None:
    config = TrainConfig(bbox_interval=interval, log_imgs=count)
    assert [done for done in range(1, 5) if pictures_are_due(config, done)] == due
