"""Test-time augmentation: the network looks at a batch in three sizes, once mirrored; suppression merges the answers.

Rules: inference.md, section 4 (v4.0: nothing is cut off any of the answers).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

VIEWS = ((1.0, False), (0.83, True), (0.67, False))
"""Scale, and whether mirrored left to right."""

PAD_VALUE = 0.447
"""What a smaller view is filled up with, to the right and below."""


def augmented(predict: Callable[[Tensor], Tensor], images: Tensor, stride: int) -> Tensor:
    """Predictions of all views, one behind the other, in the pixels of the images.

    Args:
        predict: images [B, c, H, W] to decoded predictions [B, N, 5+C]: centre and size in pixels first.
        images: floating [B, c, H, W] in 0..1; sides are multiples of the stride.
        stride: largest stride of the network.

    Returns:
        [B, sum of N, 5+C], in the order of :data:`VIEWS`.
    """
    width = images.shape[3]
    answers = []
    for scale, mirrored in VIEWS:
        view = images.flip(3) if mirrored else images
        answer = predict(_scaled(view, scale, stride))
        boxes = answer[..., :4] / scale
        if mirrored:
            boxes = torch.cat((width - boxes[..., :1], boxes[..., 1:]), -1)
        answers.append(torch.cat((boxes, answer[..., 4:]), -1))
    return torch.cat(answers, 1)


def _scaled(images: Tensor, scale: float, stride: int) -> Tensor:
    """The images made smaller, filled up to multiples of the stride."""
    if scale == 1.0:
        return images
    height, width = images.shape[2:]
    smaller_hw = int(height * scale), int(width * scale)
    smaller = functional.interpolate(images, size=smaller_hw, mode="bilinear", align_corners=False)
    # The frame of the scaled size, before it was cut off to whole pixels.
    frame_h, frame_w = (math.ceil(side * scale / stride) * stride for side in (height, width))
    return functional.pad(smaller, (0, frame_w - smaller_hw[1], 0, frame_h - smaller_hw[0]), value=PAD_VALUE)
