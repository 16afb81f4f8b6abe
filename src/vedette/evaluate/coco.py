"""The twelve COCO numbers, by hotcoco, and the COCO files of ground truth ids and results."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vedette.core.types import IntArray
from vedette.errors import MissingExtraError, WriteError
from vedette.evaluate.packed import Float64Array, Predictions, Truth

COCO_NUMBERS = (
    "ap",
    "ap50",
    "ap75",
    "ap_small",
    "ap_medium",
    "ap_large",
    "ar_1",
    "ar_10",
    "ar_100",
    "ar_small",
    "ar_medium",
    "ar_large",
)
"""Names of the twelve numbers, in the order in which COCO tools print them."""

COCO_DETECTIONS = 100
"""Boxes of a picture and class that COCO counts, the best first."""

_COCO_UNUSED_IDS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

COCO_CATEGORY_IDS = tuple(number for number in range(1, 91) if number not in _COCO_UNUSED_IDS)
"""Category ids of COCO's 80 classes in their usual order (evaluation.md section 7)."""


@dataclass(frozen=True, slots=True)
class CocoResult:
    """COCO's verdict. Undefined figures (no true boxes of that kind) are None, or NaN in arrays.

    Attributes:
        numbers: the twelve numbers by the names of ``COCO_NUMBERS``.
        ap: float64 [C], per class.
        ap50: float64 [C].
        precision_at_recall: float64 [C, 101]: interpolated precision at IoU 0.5 and recall 0, 0.01 ... 1.
    """

    numbers: dict[str, float | None]
    ap: Float64Array
    ap50: Float64Array
    precision_at_recall: Float64Array


def coco_metrics(predictions: Predictions, truth: Truth, class_names: Sequence[str]) -> CocoResult:
    """Evaluate boxes by COCO's rules: equal to pycocotools on the same boxes.

    Ignored true boxes count as crowds. Of every picture and class the 100 best predictions count.

    Raises:
        MissingExtraError: hotcoco is not installed.
    """
    classes = len(class_names)
    if not classes or not len(truth.image_ids):
        undefined = np.full(classes, np.nan)
        return CocoResult(dict.fromkeys(COCO_NUMBERS), undefined, undefined, np.full((classes, 101), np.nan))
    evaluation = _run_hotcoco(predictions, truth, class_names)
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, 2]  # [T, R, C], all areas, 100 boxes
    defined = precision[0, 0] > -1
    at_recall = np.where(defined, precision, np.nan)
    stats = [float(value) for value in evaluation.stats]
    return CocoResult(
        numbers={
            name: value if value > -1 else None for name, value in zip(COCO_NUMBERS, stats, strict=True)
        },
        ap=at_recall.mean(axis=(0, 1)),
        ap50=at_recall[0].mean(axis=0),
        precision_at_recall=np.ascontiguousarray(at_recall[0].T),
    )


def _run_hotcoco(predictions: Predictions, truth: Truth, class_names: Sequence[str]) -> Any:
    try:
        from hotcoco import COCO, COCOeval
    except ImportError:
        raise MissingExtraError("hotcoco", "train", "measuring by COCO's rules") from None
    # Places in the order of the picture ids: unique even where the ids are not, with COCO's order among equals.
    ids = np.argsort(np.argsort(truth.image_ids, kind="stable"), kind="stable") + 1
    images = [
        {"id": image_id, "width": width, "height": height}
        for image_id, (height, width) in zip(ids.tolist(), truth.sizes_hw.tolist(), strict=True)
    ]
    categories = [{"id": number + 1, "name": name} for number, name in enumerate(class_names)]
    ground_truth = COCO.from_arrays(
        images,
        categories,
        ids[truth.image_rows()],
        truth.class_ids + 1,
        _xywh(truth.boxes_xyxy_px),
        area=truth.areas,
        iscrowd=truth.ignored,
    )
    rows = np.empty((len(predictions.scores), 7))
    rows[:, 0] = ids[predictions.image_rows()]
    rows[:, 1:5] = _xywh(predictions.boxes_xyxy_px)
    rows[:, 5] = predictions.scores
    rows[:, 6] = predictions.class_ids + 1
    evaluation = COCOeval(ground_truth, ground_truth.load_res(rows), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summary_lines()  # fills stats without printing
    return evaluation


def _xywh(boxes_xyxy: Any) -> Float64Array:
    """Left, top, width, height in float64."""
    boxes: Float64Array = np.array(boxes_xyxy, dtype=np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    return boxes


def result_records(
    predictions: Predictions,
    image_ids: Sequence[int | str],
    category_ids: Sequence[int] | IntArray,
    *,
    rounded: bool = False,
) -> Iterator[dict[str, Any]]:
    """One record a box in COCO's results format: ``image_id``, ``category_id``, ``bbox``, ``score``.

    Args:
        predictions: boxes of the pictures.
        image_ids: one a picture.
        category_ids: one a class.
        rounded: 3 decimals for boxes and 5 for scores, as the reference writes them (evaluation.md section 6).
    """
    images = predictions.image_rows()
    boxes = _xywh(predictions.boxes_xyxy_px)
    for row, score in enumerate(predictions.scores.tolist()):
        box = boxes[row].tolist()
        yield {
            "image_id": image_ids[images[row]],
            "category_id": int(category_ids[predictions.class_ids[row]]),
            "bbox": [round(value, 3) for value in box] if rounded else box,
            "score": round(score, 5) if rounded else score,
        }


def write_predictions_json(
    path: Path,
    predictions: Predictions,
    image_ids: Sequence[int | str],
    category_ids: Sequence[int] | IntArray,
    *,
    rounded: bool = False,
) -> None:
    """Write a COCO results file; arguments as in ``result_records``. Raises WriteError."""
    records = result_records(predictions, image_ids, category_ids, rounded=rounded)
    try:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write("[")
            for number, record in enumerate(records):
                file.write(",\n" if number else "\n")
                file.write(json.dumps(record, ensure_ascii=False, allow_nan=False))
            file.write("\n]\n")
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror})", where=path) from None


def image_ids_yolov5(stems: Sequence[str]) -> list[int | str]:
    """Picture ids as the reference makes them: the file's stem, as a number if it is one."""
    return [int(stem) if stem.isascii() and stem.isdecimal() else stem for stem in stems]
