"""Batches of changing size: the frames of each are scaled by a factor of half to one and a half.

Rule: specification data.md section 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from vedette.core.random import generator
from vedette.core.types import SizeHW

_LEAST_STRIDES = 2


@dataclass(frozen=True, slots=True)
class MultiScale:
    """Scales the frames of a batch; the factor depends on seed and iteration alone.

    Attributes:
        seed: the run's seed.
        long_side: longer side of the run's frames, in pixels.
        stride: largest stride of the network.
    """

    seed: int
    long_side: int
    stride: int

    def drawn_side(self, iteration: int) -> int:
        """Longer side of the frames of a batch: a multiple of the stride, 0.5 to 1.5 times ``long_side``.

        The published draw, a whole number of [0.5 s, 1.5 s + stride) rounded down to whole strides; at least two,
        as normalization needs more than one cell where a batch holds one frame.
        """
        low = int(0.5 * self.long_side)
        high = int(1.5 * self.long_side + self.stride)
        drawn = low + int(generator(self.seed, "multi-scale", iteration).random() * (high - low))
        return max(drawn // self.stride, _LEAST_STRIDES) * self.stride

    def size_of(self, frames_hw: SizeHW, iteration: int) -> SizeHW:
        """What frames of a size become: the longer side as drawn, the other by the same factor, to whole strides.

        In whole numbers: where the published quotient of floats lies a rounding error above a multiple of the
        stride, it goes one stride too far.
        """
        drawn, longer = self.drawn_side(iteration), max(frames_hw)
        height, width = (-(-side * drawn // (longer * self.stride)) * self.stride for side in frames_hw)
        return height, width

    def scaled(self, images: torch.Tensor, iteration: int) -> torch.Tensor:
        """Float images [B, 3, H, W] at the size of their iteration, bilinear; targets in 0..1 stay true."""
        height, width = images.shape[-2:]
        size_hw = self.size_of((height, width), iteration)
        if size_hw == (height, width) or not len(images):
            return images
        return functional.interpolate(images, size=size_hw, mode="bilinear", align_corners=False)
