"""Pictures of plain rectangles on black, and a backend that finds them by their colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from vedette.core.types import SizeHW
from vedette.infer.backends import Frames
from vedette.infer.outputs import DecodedOutputs

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
NAMES = ("red", "green", "blue")


def save_picture(path: Path, size_hw: SizeHW, boxes: list[tuple[int, int, int, int, int]]) -> None:
    """Rows class, x1, y1, x2, y2 in pixels; at most one box a class."""
    picture = np.zeros((*size_hw, 3), np.uint8)
    for class_id, x1, y1, x2, y2 in boxes:
        picture[y1:y2, x1:x2] = COLOURS[class_id]
    PillowImage.fromarray(picture).save(path)


class ColourBackend:
    """Finds the rectangle around all pixels of a colour; a stand-in for a network."""

    def __init__(self, classes: int = 3) -> None:
        self.classes = classes
        self.strides = (8, 16, 32)
        self.device = "cpu"
        self.frame_hw = self.batch_size = None
        self.precision = "float32"
        self.frame_sizes: list[SizeHW] = []

    def run(self, frames: Frames) -> DecodedOutputs:
        pictures = np.asarray(frames)
        self.frame_sizes.append(pictures.shape[1:3])
        result = np.zeros((len(pictures), 3, 5 + self.classes), dtype=np.float32)
        for number, picture in enumerate(pictures):
            for class_id in range(min(self.classes, 3)):
                others = [channel for channel in range(3) if channel != class_id]
                mask = (picture[..., class_id] > 127) & (picture[..., others] < 60).all(axis=-1)
                rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
                if not len(rows):
                    continue
                x1, x2, y1, y2 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
                row = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0.9)
                result[number, class_id, :5] = row
                result[number, class_id, 5 + class_id] = 0.9
        return DecodedOutputs(result)

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Nothing to warm up."""
