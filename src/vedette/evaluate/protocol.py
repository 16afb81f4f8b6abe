"""How pictures are grouped and become frames: vedette's own way, and the reference's validation.

Under ``vedette`` a picture becomes the same frame as in ``vedette detect``; pictures whose frames have one size
share a batch. Under ``yolov5`` (data.md sections 6 and 12, evaluation.md section 2) pictures are sorted by
aspect, a batch gets one frame with half a stride of padding or more, sides are cut off to whole pixels, and
boxes are mapped back by the scale of the height alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.core.boxes import clip_boxes
from vedette.core.letterbox import Letterbox, LetterboxPolicy
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.resample import resize
from vedette.core.types import FloatArray, Image, IntArray, SizeHW
from vedette.evaluate.packed import Float64Array, Truth

YOLOV5_PAD = 0.5
"""Padding of the reference's frames in validation, in strides, before rounding up."""

YOLOV5_CLASS_OFFSET = 4096.0
"""How far the reference moves the boxes of neighbouring classes apart in suppression (inference.md section 3)."""


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Pictures that go through the network together.

    Attributes:
        positions: int64 [B], their places in the split.
        frame_hw: size of their frames.
    """

    positions: IntArray
    frame_hw: SizeHW


def plan_batches(sizes_hw: IntArray, letterbox: LetterboxPolicy, batch_size: int) -> list[PlannedBatch]:
    """Group pictures [n, 2] whose frames have the same size; within a group the order stays."""
    groups: dict[SizeHW, list[int]] = {}
    for position, (height, width) in enumerate(sizes_hw.tolist()):
        groups.setdefault(letterbox.place((height, width)).frame_hw, []).append(position)
    return [
        PlannedBatch(np.array(positions[first : first + batch_size]), frame_hw)
        for frame_hw, positions in groups.items()
        for first in range(0, len(positions), batch_size)
    ]


def plan_batches_yolov5(
    sizes_hw: IntArray, batch_size: int, long_side: int, stride: int, pad: float = YOLOV5_PAD
) -> list[PlannedBatch]:
    """The reference's rectangular batches of pictures [n, 2], by rising height / width.

    Args:
        sizes_hw: int [n, 2].
        batch_size: pictures per batch.
        long_side: what the longer side of a picture is scaled to.
        stride: largest stride of the network.
        pad: added to both sides of a frame, in strides, before rounding up.
    """
    aspect = sizes_hw[:, 0] / sizes_hw[:, 1]
    order = np.argsort(aspect, kind="stable")
    batches = []
    for first in range(0, len(order), batch_size):
        positions = order[first : first + batch_size]
        lowest, highest = aspect[positions[0]], aspect[positions[-1]]
        height, width = 1.0, 1.0
        if highest < 1:
            height = float(highest)
        elif lowest > 1:
            width = float(1 / lowest)
        frame_hw = (
            math.ceil(height * long_side / stride + pad) * stride,
            math.ceil(width * long_side / stride + pad) * stride,
        )
        batches.append(PlannedBatch(positions, frame_hw))
    return batches


@dataclass(frozen=True, slots=True)
class ReferenceFrame:
    """How a picture lies in its frame under the reference's validation.

    Attributes:
        source_hw: size of the picture.
        resized_hw: its size after scaling the longer side and cutting off fractions of pixels.
        letterbox: how the resized picture lies in the frame; never enlarged again.
    """

    source_hw: SizeHW
    resized_hw: SizeHW
    letterbox: Letterbox

    @property
    def gain_hw(self) -> tuple[float, float]:
        """Scale of height and width; they differ a little, as both sides are cut off."""
        return self.resized_hw[0] / self.source_hw[0], self.resized_hw[1] / self.source_hw[1]

    def apply(self, image: Image) -> Image:
        """The frame of a picture: averaging when it shrinks, bilinear when it grows, then padding."""
        if self.resized_hw != self.source_hw:
            shrinks = max(self.resized_hw) < max(self.source_hw)
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = resize(image, self.resized_hw, method)
        return self.letterbox.apply(image)

    def boxes_to_source(self, boxes_xyxy_px: FloatArray) -> FloatArray:
        """Boxes [N, 4] of the frame as clipped boxes of the picture, by the scale of the height for both axes."""
        pad = np.array(self.letterbox.pad_wh * 2, dtype=np.float32)
        return clip_boxes((boxes_xyxy_px - pad) / np.float32(self.gain_hw[0]), self.source_hw)


def frame_yolov5(
    source_hw: SizeHW,
    long_side: int,
    frame_hw: SizeHW,
    pad_value: int = 114,
    picture_format: PictureFormat = RGB8,
) -> ReferenceFrame:
    """Where a picture goes in the frame of its batch. A side that would vanish becomes 1 pixel."""
    height, width = source_hw
    ratio = long_side / max(height, width)
    resized_hw = source_hw if ratio == 1 else (max(int(height * ratio), 1), max(int(width * ratio), 1))
    policy = LetterboxPolicy(
        size_hw=frame_hw, stride=1, scale_up=False, pad_value=pad_value, picture_format=picture_format
    )
    return ReferenceFrame(source_hw, resized_hw, policy.place(resized_hw))


def truth_yolov5(truth: Truth, long_side: int) -> Truth:
    """True boxes as the reference compares them: sent to the frame and back by the scale of the height, clipped.

    The padding cancels; what remains is the ratio of the two scales on x.
    """
    stretch = np.ones(len(truth.image_ids))
    for number, (height, width) in enumerate(truth.sizes_hw.tolist()):
        frame = frame_yolov5((height, width), long_side, (long_side, long_side))
        stretch[number] = frame.gain_hw[1] / frame.gain_hw[0]
    images = truth.image_rows()
    boxes: Float64Array = truth.boxes_xyxy_px.copy()
    boxes[:, 0::2] *= stretch[images, None]
    limits: NDArray[np.int64] = truth.sizes_hw[images][:, [1, 0, 1, 0]]
    return replace(truth, boxes_xyxy_px=np.clip(boxes, 0, limits))
