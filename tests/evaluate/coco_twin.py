"""The same evaluation by pycocotools, from plain dictionaries."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vedette.evaluate.packed import Predictions, Truth


def evaluate_by_pycocotools(predictions: Predictions, truth: Truth, classes: int) -> Any:
    """A COCOeval that has run; category ids are class ids + 1, picture ids those of the truth."""
    images, found_in = truth.image_rows(), predictions.image_rows()
    annotations = [
        {
            "id": row + 1,
            "image_id": int(truth.image_ids[images[row]]),
            "category_id": int(truth.class_ids[row]) + 1,
            "bbox": _xywh(truth.boxes_xyxy_px[row]),
            "area": float(truth.areas[row]),
            "iscrowd": int(truth.ignored[row]),
        }
        for row in range(len(images))
    ]
    results = [
        {
            "id": row + 1,
            "image_id": int(truth.image_ids[found_in[row]]),
            "category_id": int(predictions.class_ids[row]) + 1,
            "bbox": (box := _xywh(predictions.boxes_xyxy_px[row].astype(float))),
            "area": box[2] * box[3],
            "iscrowd": 0,
            "score": float(predictions.scores[row]),
        }
        for row in range(len(found_in))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _dataset(truth, classes, annotations), _dataset(truth, classes, results), iouType="bbox"
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def _dataset(truth: Truth, classes: int, annotations: list[dict[str, Any]]) -> Any:
    dataset = COCO()
    dataset.dataset = {
        "info": {},
        "images": [{"id": int(image_id)} for image_id in truth.image_ids],
        "categories": [{"id": number + 1, "name": str(number)} for number in range(classes)],
        "annotations": annotations,
    }
    dataset.createIndex()
    return dataset


def _xywh(box: Any) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2]) - float(box[0]), float(box[3]) - float(box[1])]
