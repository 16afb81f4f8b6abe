"""A hub model as a backend: its weights as they are at the moment of the call, on the device they are on."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import torch

from vedette.core.types import SizeHW
from vedette.hub.layer_times import layer_times
from vedette.hub.model import HubModel
from vedette.infer.backends import Frames
from vedette.infer.backends.pytorch import PRECISION_NAMES, images_of
from vedette.infer.outputs import DecodedOutputs


class HubBackend:
    """Runs a hub model; users may move, cast and retrain it between two calls.

    Args:
        model: in evaluation mode.
        augment: look at three sizes.
        profile: print what each layer costs.
        amp: on a GPU, compute in the lower precision that autocast chooses.
    """

    def __init__(
        self, model: HubModel, *, augment: bool = False, profile: bool = False, amp: bool = False
    ) -> None:
        self._model = model
        self._augment = augment
        self._profile = profile
        self._amp = amp

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels a cell of each output level."""
        return self._model.detector.strides

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self._model.nc

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self._model.parameters()).device

    @property
    def precision(self) -> str:
        """Number format of the weights."""
        dtype = next(self._model.parameters()).dtype
        return PRECISION_NAMES.get(dtype, str(dtype))

    @property
    def frame_hw(self) -> SizeHW | None:
        """None: any size."""
        return None

    @property
    def batch_size(self) -> int | None:
        """None: any number of frames."""
        return None

    def run(self, frames: Frames) -> DecodedOutputs:
        """Run the network on frames, RGB uint8 [B, H, W, 3]. Raises ModelError."""
        return DecodedOutputs(self.infer(frames).cpu().numpy())

    @torch.no_grad()
    def infer(self, frames: Frames) -> torch.Tensor:
        """Decoded predictions float32 [B, N, 5+C] of frames, RGB uint8 [B, H, W, 3]. Raises ModelError."""
        weights = next(self._model.parameters())
        images = images_of(
            frames,
            max(self.strides),
            weights.device,
            weights.dtype,
            picture_format=self._model.picture_format,
        )
        lower = self._amp and weights.device.type != "cpu"
        times = layer_times(self._model.model, sys.stdout) if self._profile else contextlib.nullcontext()
        with times, torch.autocast(weights.device.type, enabled=lower):
            return self._model.predictions(images, self._augment)[0]

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once on black frames of that size."""
        pictures = self._model.picture_format
        self.infer(np.zeros((batch_size, *frame_hw, pictures.channels), dtype=pictures.dtype))
