"""Detections of all pictures of a split, batch by batch, under each protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vedette.core.types import Detections, Image, SizeHW
from vedette.evaluate.protocol import ReferenceFrame, frame_yolov5, plan_batches, plan_batches_yolov5
from vedette.evaluate.reading import ReadBatch, read_ahead
from vedette.infer.stream import through_lanes
from vedette.infer.tiling import TiledPredictor

if TYPE_CHECKING:
    from vedette.data.index import SplitIndex
    from vedette.infer.predictor import Predictor, PreparedPicture
    from vedette.infer.tiling import AnyPredictor


Part = tuple[int, int]
"""(k, n): of n processes that share the batches of a split, the one with number k."""

WHOLE: Part = (0, 1)


def detect_vedette(
    predictor: AnyPredictor,
    index: SplitIndex,
    batch_size: int,
    threads: int,
    part: Part = WHOLE,
    lanes: int = 1,
) -> Iterator[ReadBatch[Detections]]:
    """Detections as ``vedette detect`` makes them; reading threads letterbox ahead."""

    def prepare(image: Image, _frame_hw: SizeHW, path: str, decode_milliseconds: float) -> PreparedPicture:
        return predictor.prepare(image, path=path, decode_milliseconds=decode_milliseconds)

    # Of pictures for tiles, which may be huge, one is in work and one is read ahead.
    pictures_a_batch = 1 if isinstance(predictor, TiledPredictor) else batch_size
    planned = plan_batches(index.sizes_hw.astype(np.int64), predictor.letterbox, pictures_a_batch)
    pictures = predictor.picture_format
    read = read_ahead(index, planned[part[0] :: part[1]], prepare, threads, pictures)

    def detect(batch: ReadBatch[PreparedPicture]) -> ReadBatch[Detections]:
        return ReadBatch(batch.positions, predictor.detect(batch.pictures), batch.failed)

    yield from through_lanes(read, detect, lanes)


@dataclass(frozen=True, slots=True)
class _ReferencePicture:
    frame: Image
    placement: ReferenceFrame
    path: str
    milliseconds: dict[str, float]


def detect_yolov5(
    predictor: Predictor,
    index: SplitIndex,
    batch_size: int,
    threads: int,
    part: Part = WHOLE,
    lanes: int = 1,
) -> Iterator[ReadBatch[Detections]]:
    """Detections by the rules of the reference's validation; suppression counts as ``inference`` in the timing."""
    letterbox = predictor.letterbox
    long_side = max(letterbox.size_hw)

    def prepare(image: Image, frame_hw: SizeHW, path: str, decode_milliseconds: float) -> _ReferencePicture:
        started = time.perf_counter()
        source_hw = (int(image.shape[0]), int(image.shape[1]))
        placement = frame_yolov5(
            source_hw, long_side, frame_hw, letterbox.pad_value, letterbox.picture_format
        )
        frame = placement.apply(image)
        spent = {"decode": decode_milliseconds, "preprocess": 1000 * (time.perf_counter() - started)}
        return _ReferencePicture(frame, placement, path, spent)

    sizes_hw = index.sizes_hw.astype(np.int64)
    planned = plan_batches_yolov5(sizes_hw, batch_size, long_side, letterbox.stride)
    pictures = predictor.picture_format
    read = read_ahead(index, planned[part[0] :: part[1]], prepare, threads, pictures)

    def detect(batch: ReadBatch[_ReferencePicture]) -> ReadBatch[Detections]:
        found = _detect_frames(predictor, batch.pictures) if batch.pictures else []
        return ReadBatch(batch.positions, found, batch.failed)

    yield from through_lanes(read, detect, lanes)


def _detect_frames(predictor: Predictor, pictures: Sequence[_ReferencePicture]) -> list[Detections]:
    started = time.perf_counter()
    found = predictor.infer_frames(np.stack([picture.frame for picture in pictures]))
    inference = 1000 * (time.perf_counter() - started) / len(pictures)
    started = time.perf_counter()
    boxes = [
        picture.placement.boxes_to_source(rows[:, :4]) for rows, picture in zip(found, pictures, strict=True)
    ]
    postprocess = 1000 * (time.perf_counter() - started) / len(pictures)
    return [
        Detections(
            boxes_xyxy_px=boxes_xyxy_px,
            scores=rows[:, 4],
            class_ids=rows[:, 5].astype(np.int64),
            class_names=predictor.class_names,
            size_hw=picture.placement.source_hw,
            path=picture.path,
            milliseconds={**picture.milliseconds, "inference": inference, "postprocess": postprocess},
        )
        for boxes_xyxy_px, rows, picture in zip(boxes, found, pictures, strict=True)
    ]
