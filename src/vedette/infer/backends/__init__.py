"""What runs a detector's network, behind one protocol; one file a runtime. Importing it imports none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from vedette.core.nms import NmsSettings, Suppressed
from vedette.core.types import FloatArray, SizeHW
from vedette.errors import ModelError
from vedette.infer.outputs import LevelOutputs

if TYPE_CHECKING:
    import torch

    Frames = NDArray[np.uint8 | np.uint16] | torch.Tensor
    """Letterboxed pictures of one size: RGB uint8 [B, H, W, 3], sides multiples of the largest stride.

    Of a network for another picture format: uint8 or uint16 [B, H, W, channels].
    """
else:
    Frames = Any


class Outputs(Protocol):
    """What the network said of a batch, in whatever form it came."""

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """What to keep of each picture, in frame pixels. Raises ModelError."""
        ...

    def decoded(self) -> FloatArray:
        """float32 [B, N, 5+C]: cx, cy, w, h in frame pixels, objectness, class scores 0..1.

        Raises:
            ModelError: the network ends in suppression and does not tell.
        """
        ...


class Backend(Protocol):
    """A network with its runtime. Stateless: several threads may call one at once.

    How many will is said when it is opened (``lanes``), and its threads are divided among them.
    """

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels a cell of each output level."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes C."""
        ...

    @property
    def device(self) -> object:
        """Where the network runs; as text "cpu", "cuda:0", "mps"."""
        ...

    @property
    def precision(self) -> str:
        """Number format of the network: "float32", "bf16", "fp16" or "int8"."""
        ...

    @property
    def frame_hw(self) -> SizeHW | None:
        """The only frame size it takes; None: any multiples of the largest stride."""
        ...

    @property
    def batch_size(self) -> int | None:
        """The only number of frames it takes; None: any."""
        ...

    def run(self, frames: Frames) -> Outputs:
        """Run the network on frames and wait until it is done.

        Args:
            frames: RGB uint8 [B, H, W, 3].

        Raises:
            ModelError: the frames have another shape or type than the network takes.
        """
        ...

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once on grey frames, so that the first real batch is not slower than the others."""
        ...


@dataclass(frozen=True, slots=True)
class Inspection:
    """Raw outputs of a batch with what they were computed from; arrays, whatever ran the network.

    Attributes:
        outputs: raw levels in float32.
        maps: float32 [B, c, h, w] of the layers asked for, by the word they were asked by.
    """

    outputs: LevelOutputs
    maps: Mapping[int | str, FloatArray]


@runtime_checkable
class InspectableBackend(Backend, Protocol):
    """A backend that can also show its inside: a checkpoint, or a file that was exported with maps of layers."""

    @property
    def level_inputs(self) -> tuple[int, ...]:
        """Index of the layer that the output convolution of each level reads; empty: nothing can be shown."""
        ...

    @property
    def shown_layers(self) -> tuple[int, ...]:
        """Indices of the layers before the head that can be shown, ascending."""
        ...

    def features(self, frames: Frames, layers: Sequence[int | str]) -> dict[int | str, FloatArray]:
        """Outputs, float32 [B, c, h, w], of chosen layers, by index or name. Raises ModelError."""
        ...

    def inspect(self, frames: Frames, layers: Sequence[int | str]) -> Inspection:
        """Raw outputs of frames and outputs of chosen layers, in one pass. Raises ModelError."""
        ...


Look = Callable[["Callable[[torch.Tensor], torch.Tensor]", "torch.Tensor"], "torch.Tensor"]
"""From a function that predicts, and images, to the predictions of all views that are taken of the images."""


@runtime_checkable
class ViewingBackend(Backend, Protocol):
    """A backend whose network takes floating numbers, so that views of frames need not be rounded to bytes."""

    def run_views(self, frames: Frames, look: Look) -> Outputs:
        """What ``look`` makes of the frames as images, floating [B, c, H, W] in 0..1. Raises ModelError."""
        ...


@runtime_checkable
class CombiningBackend(Backend, Protocol):
    """A backend that puts several answers together, so that a box comes from no one cell of one network."""

    @property
    def combines(self) -> str:
        """What it puts together, in words: "three views of a picture"."""
        ...


def inspectable(backend: Backend, where: str) -> InspectableBackend:
    """The backend, if it can show its inside; ``where`` is who asks. Raises ModelError."""
    if isinstance(backend, CombiningBackend):
        raise ModelError(
            f"boxes come from {backend.combines}, not from one cell of one network",
            where=where,
            fix="ask one checkpoint by itself, without --augment",
        )
    if not isinstance(backend, InspectableBackend):
        raise ModelError(
            "what runs this network shows its detections only",
            where=where,
            fix="load the checkpoint itself, not a file exported from it",
        )
    if not backend.level_inputs:
        raise ModelError(
            "the file shows no maps of layers",
            where=where,
            fix="export it with --features box (onnx, openvino, torchscript), or load the checkpoint itself",
        )
    return backend
