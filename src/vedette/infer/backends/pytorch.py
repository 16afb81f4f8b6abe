"""The PyTorch backend: the fused detector, run eagerly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vedette.core.device import Precision, select_dtype
from vedette.core.types import SizeHW
from vedette.errors import ModelError
from vedette.infer.backends import Frames, Inspection
from vedette.model.detector import Detector
from vedette.model.fuse import fuse

PRECISION_NAMES = {torch.float32: "float32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_GREY = 114


class TorchBackend:
    """Runs a fused copy of a detector.

    Args:
        detector: the detector; it is copied, not changed.
        device: where to run.
        precision: number format of the network's weights and layers; decoding is float32 always.
        channels_last: keep the channels of a pixel together in memory, which convolutions prefer.

    Raises:
        UsageError: the device has no such precision.
    """

    def __init__(
        self,
        detector: Detector,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        channels_last: bool = True,
    ) -> None:
        self._device = torch.device(device)
        self._dtype = select_dtype(precision, self._device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        fused = fuse(detector).requires_grad_(False).eval()
        self._strides = tuple(int(stride) for stride in fused.strides)
        self._classes = int(fused.classes)
        self._detector = fused.to(self._device, self._dtype)
        # torch's annotations lack this one of its documented forms.
        self._detector.to(memory_format=self._format)  # type: ignore[call-overload]

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels a cell of each output level."""
        return self._strides

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self._classes

    @property
    def device(self) -> torch.device:
        """Where the network runs and predictions are."""
        return self._device

    @property
    def precision(self) -> str:
        """Number format of the network."""
        return PRECISION_NAMES[self._dtype]

    @torch.inference_mode()
    def infer(self, frames: Frames) -> torch.Tensor:
        """Decoded predictions float32 [B, N, 5+C] of frames, RGB uint8 [B, H, W, 3]. Raises ModelError."""
        return self.decode(self.levels(frames))

    @torch.inference_mode()
    def levels(self, frames: Frames) -> list[torch.Tensor]:
        """Raw levels [B, A, h, w, 5+C] of frames, in the network's precision. Raises ModelError."""
        levels: list[torch.Tensor] = self._detector(self._images(frames))
        return levels

    @property
    def level_inputs(self) -> tuple[int, ...]:
        """Index of the layer that each level's output convolution reads."""
        return self._detector.level_inputs

    @torch.inference_mode()
    def features(self, frames: Frames, layers: Sequence[int | str]) -> dict[int | str, torch.Tensor]:
        """Maps [B, c, h, w] of chosen layers; what lies behind the last of them is not run. Raises ModelError."""
        return self._detector.features(self._images(frames), layers)

    @torch.inference_mode()
    def inspect(self, frames: Frames, layers: Sequence[int | str]) -> Inspection:
        """Predictions with what they were computed from, in one pass. Raises ModelError."""
        images = self._images(frames)
        levels, maps = self._detector.inspect(images, layers)
        return Inspection(self.decode(levels), levels, maps, self._detector.head.anchors_px())

    @torch.inference_mode()
    def decode(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Predictions float32 [B, N, 5+C] of raw levels."""
        predictions: torch.Tensor = self._detector.head.decode(levels)
        return predictions

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once on grey frames of that size."""
        self.infer(torch.full((batch_size, *frame_hw, 3), _GREY, dtype=torch.uint8))

    def _images(self, frames: Frames) -> torch.Tensor:
        return images_of(frames, max(self._strides), self._device, self._dtype, self._format)


def images_of(
    frames: Frames,
    stride: int,
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> torch.Tensor:
    """Frames as a network takes them: floating [B, 3, H, W] in 0..1; only a byte a value travels to the device.

    Raises:
        ModelError: the frames have another shape or type, or a side is no multiple of the stride.
    """
    images = _checked(frames, stride).to(device, non_blocking=True).permute(0, 3, 1, 2)
    # 0..255 are exact in every format; the division rounds once.
    return images.to(dtype, memory_format=memory_format).div_(255)


def _checked(frames: Frames, stride: int) -> torch.Tensor:
    if isinstance(frames, np.ndarray):
        # A read-only array cannot be wrapped without a warning.
        frames = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
    if frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ModelError(f"frames are {frames.dtype} {list(frames.shape)}, expected torch.uint8 [B, H, W, 3]")
    if not all(side and side % stride == 0 for side in frames.shape[1:3]):
        raise ModelError(f"frames are {frames.shape[1]}x{frames.shape[2]}, expected multiples of {stride}")
    return frames
