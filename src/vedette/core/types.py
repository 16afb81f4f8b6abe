"""Values that travel between the stages, and the legend of shapes, units and frames.

Legend, used in every docstring and shape comment:

====  ==========================================================
B     images in a batch
M     true boxes (of one image, or of a batch)
N     predicted boxes
A     anchors of one level
C     classes
H W   pixels, in this order: sizes are always (height, width)
h w   cells of a feature map
====  ==========================================================

Names carry format, frame and unit: ``boxes_xyxy_px`` (two corners, pixels), ``boxes_cxcywh_rel`` (centre and
size, 0..1 of the image), ``size_hw``. A *picture* is what a file holds, after its EXIF orientation was
applied; the *frame* is what the network sees (letterboxed). Pictures are RGB uint8 arrays [H, W, 3].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Image = NDArray[np.uint8]
"""RGB picture, uint8 [H, W, 3]."""

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SizeHW = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture with its true boxes, on the way from disk to a batch.

    Attributes:
        image: RGB uint8 [H, W, 3].
        boxes_xyxy_px: float32 [M, 4], pixels of ``image``; may reach over its edges.
        class_ids: int64 [M], 0-based.
        ignored: bool [M]; True for crowd, difficult and "don't care" boxes: neither target nor background.
        image_number: position of the picture in its split.
    """

    image: Image
    boxes_xyxy_px: FloatArray
    class_ids: IntArray
    ignored: BoolArray
    image_number: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one size, stacked.

    Attributes:
        images: uint8 [B, 3, H, W], RGB.
        targets: float32 [M, 6]: (image in batch, class, cx, cy, w, h), the box in 0..1 of the frame.
        ignored: float32 [K, 6]: the same for boxes that are neither target nor background.
        image_numbers: int64 [B], position of each picture in its split.
    """

    images: torch.Tensor
    targets: torch.Tensor
    ignored: torch.Tensor
    image_numbers: torch.Tensor


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in one picture, best score first.

    Attributes:
        boxes_xyxy_px: float32 [N, 4], pixels of the picture (not of the frame), inside it.
        scores: float32 [N], 0..1.
        class_ids: int64 [N].
        class_names: names of all classes of the model, by id.
        size_hw: size of the picture.
        path: where the picture came from, or "" for an array.
        milliseconds: time by stage: ``decode``, ``preprocess``, ``inference``, ``postprocess``
            (batch time divided by the number of pictures in the batch).
    """

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_ids: IntArray
    class_names: tuple[str, ...]
    size_hw: SizeHW
    path: str = ""
    milliseconds: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def records(self) -> list[dict[str, Any]]:
        """One JSON-ready dict a box: ``box_xyxy``, ``score``, ``class_id``, ``class_name``."""
        return [
            {
                "box_xyxy": [float(value) for value in box],
                "score": float(score),
                "class_id": int(class_id),
                "class_name": self.class_names[int(class_id)],
            }
            for box, score, class_id in zip(self.boxes_xyxy_px, self.scores, self.class_ids, strict=True)
        ]
