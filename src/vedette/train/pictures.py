"""Pictures of a run: what the network is shown, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vedette.core.types import Batch, Detections, Image, SizeHW
from vedette.errors import ImageError
from vedette.evaluate.result import Evaluation
from vedette.infer.draw import DrawStyle, draw_detections

_GRID_BATCH = 16
_GRID_FOUND = 12
_TILE = 320
_GAP = 6


def draw_batch(batch: Batch, class_names: Sequence[str], path: Path) -> None:
    """The first pictures of a training batch with their targets, as the network gets them."""
    tiles = []
    frames = batch.images[:_GRID_BATCH].permute(0, 2, 3, 1).contiguous().numpy()
    for number, frame in enumerate(frames):
        height, width = frame.shape[:2]
        rows = batch.targets[batch.targets[:, 0] == number].numpy()
        centre, half = rows[:, 2:4], rows[:, 4:6] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) * [width, height, width, height]
        targets = _as_detections(boxes, np.ones(len(rows)), rows[:, 1], class_names, (height, width))
        tiles.append(draw_detections(frame, targets, DrawStyle(scores=False)))
    _write_grid(tiles, path)


def draw_found(
    evaluation: Evaluation, class_names: Sequence[str], path: Path, *, score: float = 0.25
) -> None:
    """Evenly spaced pictures of the validation split with what was found in them."""
    from vedette.data.images import read_image

    count = len(evaluation.image_paths)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _GRID_FOUND)).round().astype(int))
    tiles, found = [], evaluation.predictions
    for number in chosen:
        try:
            picture = read_image(Path(evaluation.image_paths[number]))
        except ImageError:
            continue  # it was readable when it was measured; a picture less is no reason to fail
        rows = slice(found.offsets[number], found.offsets[number + 1])
        shown = found.scores[rows] >= score
        detections = _as_detections(
            found.boxes_xyxy_px[rows][shown],
            found.scores[rows][shown],
            found.class_ids[rows][shown],
            class_names,
            (picture.shape[0], picture.shape[1]),
        )
        tiles.append(draw_detections(picture, detections))
    if tiles:
        _write_grid(tiles, path)


def _as_detections(
    boxes: np.ndarray, scores: np.ndarray, class_ids: np.ndarray, class_names: Sequence[str], size_hw: SizeHW
) -> Detections:
    return Detections(
        boxes_xyxy_px=boxes.astype(np.float32),
        scores=scores.astype(np.float32),
        class_ids=class_ids.astype(np.int64),
        class_names=tuple(class_names),
        size_hw=size_hw,
    )


def _write_grid(tiles: Sequence[Image], path: Path) -> None:
    """Tiles row by row on white, each fitted into a square of the same size."""
    columns = min(4, math.ceil(math.sqrt(len(tiles))))
    rows = math.ceil(len(tiles) / columns)
    side = _TILE + _GAP
    canvas = np.full((rows * side + _GAP, columns * side + _GAP, 3), 255, np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        scale = _TILE / max(tile.shape[:2])
        height, width = (max(1, round(length * scale)) for length in tile.shape[:2])
        shrunk = cv2.resize(
            tile, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        top = _GAP + row * side + (_TILE - height) // 2
        left = _GAP + column * side + (_TILE - width) // 2
        canvas[top : top + height, left : left + width] = shrunk
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    path.write_bytes(encoded.tobytes())
