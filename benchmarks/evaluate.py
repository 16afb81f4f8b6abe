"""COCO numbers from packed arrays: ``vedette.evaluate.coco`` (hotcoco) against pycocotools.

Protocol: drawn boxes (default 1000 pictures, 20 classes, up to 15 true boxes and about 100 predictions a picture).
Both get the packed arrays, build what their library takes, and compute the twelve numbers; they alternate in one
process and must agree to 6 decimals. Beside them, without a counterpart: matching, curves and confusion matrix.

    python benchmarks/evaluate.py [--images 1000] [--classes 20] [--detections 100] [--rounds 5]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from vedette.evaluate.coco import coco_metrics
from vedette.evaluate.confusion import confusion_matrix
from vedette.evaluate.match import match_coco
from vedette.evaluate.metrics import confidence_curves
from vedette.evaluate.packed import Predictions, Truth, offsets_of


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("images", 1000), ("classes", 20), ("detections", 100), ("rounds", 5), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    predictions, truth = draw(options.images, options.classes, options.detections, options.seed)
    names = [str(number) for number in range(options.classes)]
    versions = ", ".join(f"{name} {version(name)}" for name in ("hotcoco", "pycocotools", "numpy", "torch"))
    print(
        f"python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    )
    print(
        f"{options.images} pictures, {options.classes} classes, {len(truth.class_ids)} true boxes, "
        f"{len(predictions.scores)} predictions; {options.rounds} rounds"
    )
    jobs: dict[str, Callable[[], Any]] = {
        "vedette (hotcoco)": lambda: coco_metrics(predictions, truth, names).numbers,
        "pycocotools": lambda: by_pycocotools(predictions, truth, options.classes),
        "curves and confusion": lambda: ours_beside(predictions, truth, names),
    }
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    results: dict[str, Any] = {}
    for _ in range(options.rounds):
        for name, job in jobs.items():
            started = time.perf_counter()
            results[name] = job()
            seconds[name].append(time.perf_counter() - started)
    ours = [-1.0 if value is None else value for value in results["vedette (hotcoco)"].values()]
    worst = float(np.abs(np.array(ours) - results["pycocotools"]).max())
    if worst > 5e-7:
        raise SystemExit(f"the numbers differ by {worst:g}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        print(f"{name:24s} {median:8.3f} s  ({min(seconds[name]):.3f} to {max(seconds[name]):.3f})")
    print(
        f"pycocotools / vedette: {medians['pycocotools'] / medians['vedette (hotcoco)']:.1f}; "
        f"largest difference of a number: {worst:.1e}"
    )


def draw(images: int, classes: int, detections: int, seed: int) -> tuple[Predictions, Truth]:
    """True boxes of all sizes, a tenth of the predictions near them, the others anywhere."""
    random = np.random.default_rng(seed)
    counts = random.integers(0, 16, images)
    corner = random.uniform(0, 500, (counts.sum(), 2))
    size = np.exp(random.uniform(np.log(6), np.log(250), corner.shape))
    truth = Truth(
        offsets=offsets_of(counts),
        boxes_xyxy_px=np.concatenate([corner, corner + size], axis=1),
        class_ids=random.integers(0, classes, len(corner)),
        ignored=random.random(len(corner)) < 0.02,
        areas=size.prod(axis=1),
        image_ids=np.arange(images) + 1,
        sizes_hw=np.full((images, 2), 640),
    )
    beside = random.uniform(0, 500, (images * detections, 2))
    beside = np.concatenate([beside, beside + random.uniform(5, 200, beside.shape)], axis=1)
    near = truth.boxes_xyxy_px + random.normal(0, 0.06, truth.boxes_xyxy_px.shape) * np.tile(size, 2)
    image = np.concatenate([truth.image_rows(), np.repeat(np.arange(images), detections)])
    scores = np.concatenate([random.beta(4, 2, len(near)), random.beta(1, 8, len(beside))]).astype(np.float32)
    class_ids = np.concatenate([truth.class_ids, random.integers(0, classes, len(beside))])
    order = np.lexsort((-scores, image))
    predictions = Predictions(
        offsets=offsets_of(np.bincount(image, minlength=images)),
        boxes_xyxy_px=np.concatenate([near, beside]).astype(np.float32)[order],
        scores=scores[order],
        class_ids=class_ids[order],
    )
    return predictions, truth


def by_pycocotools(predictions: Predictions, truth: Truth, classes: int) -> Any:
    """The twelve numbers, with the dictionaries that pycocotools wants."""
    with contextlib.redirect_stdout(io.StringIO()):
        wanted = coco_dataset(truth.image_rows(), truth.class_ids, truth.boxes_xyxy_px, truth, classes)
        for annotation, area, crowd in zip(
            wanted.dataset["annotations"], truth.areas.tolist(), truth.ignored.tolist(), strict=True
        ):
            annotation.update(area=area, iscrowd=int(crowd))
        found = coco_dataset(
            predictions.image_rows(), predictions.class_ids, predictions.boxes_xyxy_px, truth, classes
        )
        for annotation, score in zip(found.dataset["annotations"], predictions.scores.tolist(), strict=True):
            width, height = annotation["bbox"][2:]
            annotation.update(area=width * height, iscrowd=0, score=score)
        evaluation = COCOeval(wanted, found, iouType="bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def coco_dataset(image: Any, class_ids: Any, boxes_xyxy_px: Any, truth: Truth, classes: int) -> Any:
    """A COCO object of boxes; what distinguishes truth from results is filled in by the caller."""
    boxes = np.array(boxes_xyxy_px, dtype=np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    dataset = COCO()
    columns = zip(truth.image_ids[image].tolist(), class_ids.tolist(), boxes.tolist(), strict=True)
    dataset.dataset = {
        "images": [{"id": number} for number in truth.image_ids.tolist()],
        "categories": [{"id": number, "name": str(number)} for number in range(classes)],
        "annotations": [
            {"id": row + 1, "image_id": image_id, "category_id": class_id, "bbox": box}
            for row, (image_id, class_id, box) in enumerate(columns)
        ],
    }
    dataset.createIndex()
    return dataset


def ours_beside(predictions: Predictions, truth: Truth, names: list[str]) -> None:
    """Everything of an evaluation that is not COCO's twelve numbers."""
    undefined = np.full((len(names), 101), np.nan)
    confidence_curves(predictions, match_coco(predictions, truth), truth.instances(len(names)), undefined)
    confusion_matrix(predictions, truth, names)


if __name__ == "__main__":
    main()
