"""What runs a detector's network, behind one protocol; one file a runtime."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vedette.core.types import SizeHW

Frames = NDArray[np.uint8] | torch.Tensor
"""Letterboxed pictures of one size: RGB uint8 [B, H, W, 3], sides multiples of the largest stride."""


class Backend(Protocol):
    """A detector that maps frames to decoded predictions. Stateless: several threads may call one at once."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels a cell of each output level."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes C."""
        ...

    @property
    def device(self) -> torch.device:
        """Where predictions are."""
        ...

    @property
    def precision(self) -> str:
        """Number format of the network: "float32", "bf16" or "fp16"."""
        ...

    def infer(self, frames: Frames) -> torch.Tensor:
        """Decoded predictions of frames.

        Args:
            frames: RGB uint8 [B, H, W, 3].

        Returns:
            float32 [B, N, 5+C] on ``device``: cx, cy, w, h in frame pixels, objectness, class scores 0..1.

        Raises:
            ModelError: the frames have another shape or type.
        """
        ...

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once on grey frames, so that the first real batch is not slower than the others."""
        ...
