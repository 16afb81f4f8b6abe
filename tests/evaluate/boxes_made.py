"""Predictions and truth for tests: packed from short lists, or drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vedette.core.types import Detections
from vedette.evaluate.packed import Predictions, Truth, offsets_of, pack_predictions


def predictions_of(images: Sequence[Sequence[Sequence[float]]]) -> Predictions:
    """One list a picture of rows x1, y1, x2, y2, score, class."""
    return pack_predictions(
        [
            Detections(
                boxes_xyxy_px=np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
                scores=np.array([row[4] for row in rows], np.float32),
                class_ids=np.array([row[5] for row in rows], np.int64),
                class_names=(),
                size_hw=(100, 100),
            )
            for rows in images
        ]
    )


def truth_made(
    images: Sequence[Sequence[Sequence[float]]], ignored: Sequence[bool] | None = None, **fields: Any
) -> Truth:
    """One list a picture of rows class, x1, y1, x2, y2."""
    rows = np.array([row for rows in images for row in rows], np.float64).reshape(-1, 5)
    boxes = rows[:, 1:]
    values: dict[str, Any] = {
        "areas": (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]),
        "image_ids": np.arange(len(images)) + 1,
        "sizes_hw": np.full((len(images), 2), 100),
    }
    return Truth(
        offsets=offsets_of([len(rows) for rows in images]),
        boxes_xyxy_px=boxes,
        class_ids=rows[:, 0].astype(np.int64),
        ignored=np.zeros(len(rows), np.bool_) if ignored is None else np.array(ignored, np.bool_),
        **(values | fields),
    )


def draw(
    seed: int, *, images: int = 30, classes: int = 4, crowd: float = 0.1, most: int = 9, detections: int = 12
) -> tuple[Predictions, Truth]:
    """Boxes of all sizes, predictions near them and beside them, ties of scores, empty pictures."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, most, images) * (random.random(images) < 0.8)
    total = int(counts.sum())
    corner = random.uniform(0, 400, (total, 2)).round(1)
    size = np.exp(random.uniform(np.log(4), np.log(220), (total, 2))).round(1)
    boxes = np.concatenate([corner, corner + size], axis=1)
    class_ids = random.integers(0, max(classes - 1, 1), total)  # the last class has no true boxes
    truth = Truth(
        offsets=offsets_of(counts),
        boxes_xyxy_px=boxes,
        class_ids=class_ids,
        ignored=random.random(total) < crowd,
        areas=size.prod(axis=1) * random.uniform(0.4, 1.0, total),  # as of a mask
        image_ids=random.permutation(10 * images)[:images],
        sizes_hw=np.full((images, 2), 640),
    )
    packed = []
    for first, last in zip(truth.offsets[:-1], truth.offsets[1:], strict=True):
        copies = random.integers(0, 3, last - first)
        near = np.repeat(boxes[first:last], copies, axis=0)
        extent = np.repeat(size[first:last], copies, axis=0)
        near = near + random.normal(0, 0.08, near.shape) * np.tile(extent, 2)
        near_class = np.repeat(class_ids[first:last], copies)
        wrong = random.random(len(near)) < 0.15
        near_class = np.where(wrong, random.integers(0, classes, len(near)), near_class)
        beside = random.uniform(0, 400, (random.integers(0, detections + 1), 2))
        beside = np.concatenate([beside, beside + random.uniform(5, 150, beside.shape)], axis=1)
        found = np.concatenate([near, beside]).astype(np.float32)
        found_class = np.concatenate([near_class, random.integers(0, classes, len(beside))])
        scores = random.random(len(found)).round(2).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        packed.append(Detections(found[order], scores[order], found_class[order], (), (640, 640)))
    return pack_predictions(packed), truth
