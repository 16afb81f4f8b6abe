"""What the network is shown: a training batch as a sheet of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vedette.core.types import Batch, Detections
from vedette.infer.draw import BoxLook
from vedette.infer.grid import class_sheet, shrunk, write_jpeg

_MOST = 16


def draw_batch(batch: Batch, class_names: Sequence[str], path: Path) -> Path:
    """The first frames of a training batch with their targets, as the network gets them; ignored boxes dashed.

    Raises:
        WriteError: the file cannot be written.
    """
    tiles = []
    frames = batch.images[:_MOST].permute(0, 2, 3, 1).contiguous().numpy()
    targets, ignored = batch.targets.numpy(), batch.ignored.numpy()
    for number, frame in enumerate(frames):
        height, width = frame.shape[:2]
        own, dashed = (rows[rows[:, 0] == number] for rows in (targets, ignored))
        rows = np.concatenate([own, dashed])
        centre, half = rows[:, 2:4], rows[:, 4:6] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1) * [width, height, width, height]
        shown = Detections(
            boxes_xyxy_px=boxes.astype(np.float32),
            scores=np.ones(len(rows), np.float32),
            class_ids=rows[:, 1].astype(np.int64),
            class_names=tuple(class_names),
            size_hw=(height, width),
        )
        looks = [BoxLook()] * len(own) + [BoxLook(dashed=True)] * len(dashed)
        tiles.append(shrunk(frame, shown, looks=looks))
    return write_jpeg(class_sheet(tiles, scores=False), path)
