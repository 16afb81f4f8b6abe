"""An evaluation whose pictures lie on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.evaluate.boxes_made import predictions_of, truth_made
from vedette.config.evaluate import EvaluateConfig
from vedette.evaluate.result import Evaluation
from vedette.evaluate.run import measure_boxes


def measured(folder: Path, pictures: int, names: Sequence[str] = ("cat", "dog")) -> Evaluation:
    """Every picture has a box of the first class; it is found in every second one, in the others a wrong one is."""
    paths = []
    for number in range(pictures):
        path = folder / f"{number:02d}.png"
        cv2.imwrite(str(path), np.full((80, 100, 3), 128, np.uint8))
        paths.append(str(path))
    right, wrong = [10, 10, 60, 60, 0.9, 0], [70, 50, 95, 75, 0.8, 1]
    return measure_boxes(
        predictions_of([[right] if number % 2 == 0 else [wrong] for number in range(pictures)]),
        truth_made([[[0, 10, 10, 60, 60]]] * pictures, sizes_hw=np.full((pictures, 2), (80, 100))),
        names,
        EvaluateConfig(),
        protocol={"name": "vedette", "split": "val"},
        timing={},
        failed=(),
        image_paths=tuple(paths),
        category_ids=(),
    )
