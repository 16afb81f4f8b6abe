"""A training batch as a sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from vedette.core.colours import class_colour
from vedette.core.types import Batch
from vedette.train.reporting.pictures import draw_batch


def test_targets_and_ignored_boxes_lie_where_they_are(tmp_path: Path) -> None:
    targets = torch.tensor([[1, 0, 0.5, 0.5, 0.5, 0.5]])
    ignored = torch.tensor([[1, 1, 0.5, 0.5, 0.9, 0.9]])
    batch = Batch(torch.full((2, 3, 64, 64), 128, dtype=torch.uint8), targets, ignored, torch.arange(2))
    path = draw_batch(batch, ["a", "b"], tmp_path / "new" / "batch.jpg")
    sheet = cv2.imread(str(path))[:316, :, ::-1].astype(int)

    def share(colour: tuple[int, int, int], part: np.ndarray) -> float:
        return float((np.abs(part - colour).max(axis=-1) < 50).mean())

    left, right = sheet[:, :320], sheet[:, 326:]
    assert share(class_colour(0), left) == 0
    solid, dashed = share(class_colour(0), right), share(class_colour(1), right)
    assert dashed > 0.001
    assert solid > dashed / 1.8 * 1.1, "the ignored box is 1.8 times as long and dashed"
