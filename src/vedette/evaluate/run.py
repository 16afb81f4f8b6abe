"""Evaluate a model on a split: pictures -> predictor -> boxes -> COCO numbers, curves, confusion matrix."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vedette.config.evaluate import EvaluateConfig
from vedette.core.types import Detections, IntArray
from vedette.data.index import SplitIndex, single_class_names
from vedette.errors import UsageError
from vedette.evaluate.classes import map_classes
from vedette.evaluate.coco import COCO_CATEGORY_IDS, COCO_DETECTIONS, CocoResult, coco_metrics
from vedette.evaluate.confusion import confusion_matrix
from vedette.evaluate.detecting import WHOLE, Part, detect_vedette, detect_yolov5
from vedette.evaluate.match import match_coco, match_yolov5
from vedette.evaluate.metrics import (
    OperatingPoint,
    ReferenceSummary,
    best_common_point,
    confidence_curves,
    summarize_yolov5,
)
from vedette.evaluate.packed import (
    Predictions,
    Truth,
    judged_predictions,
    keep_truth,
    pack_predictions,
    single_class_truth,
    truth_of,
)
from vedette.evaluate.protocol import YOLOV5_CLASS_OFFSET, YOLOV5_PAD, truth_yolov5
from vedette.evaluate.reading import FailedImage, ReadBatch
from vedette.evaluate.result import ClassResult, Evaluation
from vedette.infer.backends import CombiningBackend
from vedette.infer.tiling import TiledPredictor

if TYPE_CHECKING:
    from vedette.infer.tiling import AnyPredictor

Progress = Callable[[int, int], None]
"""Told after each batch: pictures done, pictures in all."""

Watch = Callable[[Sequence[int]], None]
"""Told after the network saw a batch, and before it sees the next: the places of its pictures, in its order."""


def evaluate(
    predictor: AnyPredictor,
    index: SplitIndex,
    settings: EvaluateConfig,
    *,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Measure a predictor on a split.

    Pictures that cannot be read are left out of all figures and listed in ``failed``.

    Args:
        predictor: the model; thresholds, classes and frame size are set here, by ``settings``.
        index: the split.
        settings: protocol, thresholds and lanes (0: one); device and precision are those of the predictor.
        progress: told how far it is.
        watch: told which pictures the predictor's backend has just seen.

    Raises:
        ModelError: the classes of the model are not those of the data.
        MissingExtraError: hotcoco is not installed.
    """
    found = find_boxes(predictor, index, settings, progress=progress, watch=watch)
    return measure_found(predictor, index, settings, [found])


@dataclass(frozen=True, slots=True)
class FoundBoxes:
    """What was found in the pictures of a split, or of a part of it.

    Attributes:
        pictures: detections by place in the split.
        failed: pictures that could not be read.
        spent: milliseconds by stage, summed up over pictures.
        milliseconds: clock time.
    """

    pictures: Mapping[int, Detections]
    failed: tuple[FailedImage, ...]
    spent: Mapping[str, float]
    milliseconds: float


def find_boxes(
    predictor: AnyPredictor,
    index: SplitIndex,
    settings: EvaluateConfig,
    *,
    part: Part = WHOLE,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> FoundBoxes:
    """The first half of :func:`evaluate`, for all batches of a split or for one process's part of them.

    The batches are the same whoever takes them, so nothing that is found depends on the number of parts.

    Raises:
        ModelError: the classes of the model are not those of the data.
    """
    started = time.perf_counter()
    map_classes(predictor.class_names, index.class_names, single=settings.single_cls)
    predictor = _configure(predictor, settings)
    found: dict[int, Detections] = {}
    failed: list[FailedImage] = []
    spent: Counter[str] = Counter()
    lanes = 1 if watch is not None else settings.lanes or 1
    for batch in _batches(predictor, index, settings, part, lanes):
        if watch is not None:
            watch(batch.positions)
        found.update(zip(batch.positions, batch.pictures, strict=True))
        failed.extend(batch.failed)
        for detections in batch.pictures:
            spent.update(detections.milliseconds)
        if progress is not None:
            progress(len(found) + len(failed), len(index))
    return FoundBoxes(found, tuple(failed), dict(spent), 1000 * (time.perf_counter() - started))


def _batches(
    predictor: AnyPredictor, index: SplitIndex, settings: EvaluateConfig, part: Part, lanes: int
) -> Iterator[ReadBatch[Detections]]:
    if settings.protocol == "vedette":
        return detect_vedette(predictor, index, settings.batch_size, settings.workers, part, lanes)
    if isinstance(predictor, TiledPredictor):
        raise UsageError("the published protocol has no tiles", where="protocol", fix="use 'vedette'")
    return detect_yolov5(predictor, index, settings.batch_size, settings.workers, part, lanes)


def measure_found(
    predictor: AnyPredictor, index: SplitIndex, settings: EvaluateConfig, parts: Sequence[FoundBoxes]
) -> Evaluation:
    """The second half of :func:`evaluate`: all figures of what was found in the parts of a split.

    Args:
        predictor: the one that found it.
        index: the split.
        settings: likewise.
        parts: of :func:`find_boxes`, together all pictures.
    """
    started = time.perf_counter()
    to_data, class_map = map_classes(predictor.class_names, index.class_names, single=settings.single_cls)
    class_names = single_class_names(index.class_names) if settings.single_cls else index.class_names
    predictor = _configure(predictor, settings)
    found = {place: detections for part in parts for place, detections in part.pictures.items()}
    failed = sorted((failure for part in parts for failure in part.failed), key=lambda it: it.path)
    spent: Counter[str] = Counter()
    for part in parts:
        spent.update(part.spent)
    positions = np.array(sorted(found), dtype=np.int64)
    predictions = pack_predictions([_with_classes(found[int(place)], to_data) for place in positions])
    truth = truth_of(index, positions)
    if settings.single_cls:
        truth = single_class_truth(truth)
    wall = max(part.milliseconds for part in parts) + 1000 * (time.perf_counter() - started)
    return measure_boxes(
        predictions,
        truth,
        class_names,
        settings,
        protocol=_describe(predictor, settings, class_map),
        timing={stage: total / max(len(found), 1) for stage, total in {**spent, "wall": wall}.items()},
        failed=tuple(failed),
        category_ids=_category_ids(index, settings),
        image_paths=tuple(str(index.image_path(int(place))) for place in positions),
        picture_format=predictor.picture_format,
    )


def _category_ids(index: SplitIndex, settings: EvaluateConfig) -> tuple[int, ...]:
    """Those of the data; the reference maps COCO's 80 classes by the name of the description alone."""
    if settings.single_cls:
        return index.category_ids[:1]
    if settings.protocol == "yolov5" and settings.data.endswith("coco.yaml") and len(index.class_names) == 80:
        return COCO_CATEGORY_IDS
    return index.category_ids


def measure_boxes(
    predictions: Predictions,
    truth: Truth,
    class_names: Sequence[str],
    settings: EvaluateConfig,
    **facts: Any,
) -> Evaluation:
    """All figures of predictions and truth; ``facts`` are the fields of the result that are known already.

    Of pictures in which not all classes are labelled, only the labelled ones count.
    """
    classes = len(class_names)
    judged = judged_predictions(predictions, truth)
    coco = coco_metrics(judged, truth, class_names)
    curves, points = confidence_curves(
        judged, match_coco(judged, truth), truth.instances(classes), coco.precision_at_recall
    )
    background = np.diff(truth.offsets) == 0
    false_boxes = background[judged.image_rows()] & (judged.scores > settings.confusion_conf)
    return Evaluation(
        numbers=coco.numbers,
        per_class=_per_class(class_names, truth, coco, points),
        operating_point=best_common_point(curves),
        curves=curves,
        confusion=confusion_matrix(judged, truth, class_names, settings.confusion_conf),
        reference=_reference(judged, truth, classes, facts["protocol"]),
        fp_per_background_image=float(false_boxes.sum() / background.sum()) if background.any() else None,
        background_images=int(background.sum()),
        predictions=predictions,
        truth=truth,
        **facts,
    )


def _per_class(
    class_names: Sequence[str], truth: Truth, coco: CocoResult, points: Sequence[OperatingPoint]
) -> tuple[ClassResult, ...]:
    instances, images = truth.instances(len(class_names)), truth.images_with(len(class_names))
    return tuple(
        ClassResult(
            class_id=number,
            name=name,
            images=int(images[number]),
            instances=int(instances[number]),
            ap=None if np.isnan(coco.ap[number]) else float(coco.ap[number]),
            ap50=None if np.isnan(coco.ap50[number]) else float(coco.ap50[number]),
            **asdict(points[number]),
        )
        for number, name in enumerate(class_names)
    )


def _reference(
    predictions: Predictions, truth: Truth, classes: int, protocol: dict[str, Any]
) -> ReferenceSummary | None:
    if protocol["name"] != "yolov5":
        return None
    truth = truth_yolov5(keep_truth(truth, ~truth.ignored), max(protocol["size_hw"]))
    return summarize_yolov5(match_yolov5(predictions, truth), predictions, truth.class_ids, classes)


def _configure(predictor: AnyPredictor, settings: EvaluateConfig) -> AnyPredictor:
    """The predictor with the thresholds and the frame size of the evaluation."""
    nms = replace(
        predictor.nms,
        conf_threshold=settings.conf_threshold,
        iou_threshold=settings.iou_threshold,
        max_detections=settings.max_detections,
        class_ids=None,
        agnostic=settings.single_cls,
        multi_label=True,
        merge=False,
        class_offset=YOLOV5_CLASS_OFFSET if settings.protocol == "yolov5" else None,
    )
    letterbox = predictor.letterbox
    if settings.image_size is not None:
        letterbox = replace(letterbox, size_hw=settings.image_size)
    return predictor.with_settings(nms=nms, letterbox=letterbox)


def _describe(predictor: AnyPredictor, settings: EvaluateConfig, class_map: str) -> dict[str, Any]:
    letterbox = predictor.letterbox
    rules: dict[str, Any] = {"size_hw": list(letterbox.size_hw), "letterbox": letterbox.to_dict()}
    if settings.protocol == "yolov5":
        side = max(letterbox.size_hw)
        rules = {
            "size_hw": [side, side],
            "letterbox": None,
            "pad_strides": YOLOV5_PAD,
            "batches": "rectangular",
        }
    return {
        "name": settings.protocol,
        **rules,
        "stride": letterbox.stride,
        "batch_size": settings.batch_size,
        "conf_threshold": settings.conf_threshold,
        "iou_threshold": settings.iou_threshold,
        "max_detections": settings.max_detections,
        "multi_label": True,
        "coco_max_detections": COCO_DETECTIONS,
        "coco_recall_points": 101,
        "combines": predictor.backend.combines if isinstance(predictor.backend, CombiningBackend) else None,
        "tiles": predictor.to_dict() if isinstance(predictor, TiledPredictor) else None,
        "precision": predictor.backend.precision,
        "device": str(predictor.backend.device),
        "single_cls": settings.single_cls,
        "classes": class_map,
        "split": settings.split,
    }


def _with_classes(detections: Detections, to_data: IntArray) -> Detections:
    """The detections with the data's class ids; those of classes the data does not have are left out."""
    class_ids = to_data[detections.class_ids]
    kept = class_ids >= 0
    return replace(
        detections,
        boxes_xyxy_px=detections.boxes_xyxy_px[kept],
        scores=detections.scores[kept],
        class_ids=class_ids[kept],
    )
