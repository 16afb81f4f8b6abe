"""What all exported files have in common: frames in the form the network takes, its arrays as outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.checkpoint.contract import ExportContract
from vedette.core.decode import BOX_VALUES, HeadGeometry
from vedette.core.types import FloatArray, SizeHW
from vedette.errors import ModelError
from vedette.infer.backends import Frames, Inspection, Outputs
from vedette.infer.outputs import DecodedOutputs, FinalOutputs, LevelOutputs

Call = Callable[[NDArray[Any]], Sequence[NDArray[Any]]]
"""Runs a network: its input to its outputs, in the order of the contract. Several threads may call at once."""

_GREY = 114


@dataclass(frozen=True, slots=True)
class ExportedBackend:
    """A network of an exported file, whatever runs it.

    Attributes:
        contract: what the file says of itself.
        call: runs the network.
        device: where it runs.
        precision: number format that the runtime computes in.
    """

    contract: ExportContract
    call: Call
    device: str
    precision: str
    _head: HeadGeometry = field(init=False)

    def __post_init__(self) -> None:
        anchors_px = np.array(self.contract.anchors_px, dtype=np.float32)
        head = HeadGeometry(self.contract.strides, anchors_px, self.contract.classes)
        object.__setattr__(self, "_head", head)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels a cell of each output level."""
        return self.contract.strides

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.contract.classes

    @property
    def frame_hw(self) -> SizeHW | None:
        """The only frame size it takes; None: any multiples of the largest stride."""
        return self.contract.frame_hw

    @property
    def batch_size(self) -> int | None:
        """The only number of frames it takes; None: any."""
        return self.contract.batch_size

    def run(self, frames: Frames) -> Outputs:
        """Run the network on frames, RGB uint8 [B, H, W, 3]. Raises ModelError."""
        return self._outputs_and_maps(frames)[0]

    @property
    def level_inputs(self) -> tuple[int, ...]:
        """Index of the layer that the output convolution of each level reads; empty if the file shows no maps."""
        return () if self.contract.features is None else self.contract.features.level_inputs

    @property
    def shown_layers(self) -> tuple[int, ...]:
        """Indices of the layers whose maps the file gives."""
        return () if self.contract.features is None else self.contract.features.layers

    def features(self, frames: Frames, layers: Sequence[int | str]) -> dict[int | str, FloatArray]:
        """Maps, float32 [B, c, h, w], of layers that the file shows; the whole network is run. Raises ModelError."""
        return self._chosen(self._outputs_and_maps(frames)[1], layers)

    def inspect(self, frames: Frames, layers: Sequence[int | str]) -> Inspection:
        """Raw levels with what they were computed from, in one pass. Raises ModelError."""
        outputs, maps = self._outputs_and_maps(frames)
        if not isinstance(outputs, LevelOutputs):
            raise ModelError("its network gives decoded predictions, of which nobody knows the logits")
        raw = [np.asarray(level, dtype=np.float32) for level in outputs.levels]
        return Inspection(LevelOutputs(raw, self._head), self._chosen(maps, layers))

    def _outputs_and_maps(self, frames: Frames) -> tuple[Outputs, Sequence[NDArray[Any]]]:
        checked = check_frames(np.asarray(frames), self.contract)
        arrays = self.call(network_input(checked, self.contract))
        first = max(len(arrays) - len(self.shown_layers), 0)
        maps = arrays[first:]
        batch, height, width, _ = checked.shape
        shown = () if self.contract.features is None else self.contract.features.maps
        shapes = [(batch, one.channels, height // one.stride, width // one.stride) for one in shown]
        if [array.shape for array in maps] != shapes:
            raise ModelError(
                "the maps of layers that the file gives are not those that it says it gives",
                fix="export the checkpoint again",
            )
        return outputs_of(arrays[:first], self.contract, self._head), maps

    def _chosen(
        self, maps: Sequence[NDArray[Any]], layers: Sequence[int | str]
    ) -> dict[int | str, FloatArray]:
        features = self.contract.features
        if features is None:
            raise ModelError("the file shows no maps of layers", fix="export it with --features")
        return {
            # Copied: a runtime may want its memory back for the next frames.
            layer: np.array(maps[place], dtype=np.float32)
            for layer, place in ((layer, features.place(layer)) for layer in layers)
        }

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once on grey frames; a size that the file does not leave open is its own."""
        size = (self.batch_size or batch_size, *(self.frame_hw or frame_hw), 3)
        self.run(np.full(size, _GREY, dtype=np.uint8))


def check_frames(frames: NDArray[Any], contract: ExportContract) -> NDArray[np.uint8]:
    """Frames that fit the contract, C-contiguous. Raises ModelError."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ModelError(f"frames are {frames.dtype} {list(frames.shape)}, expected uint8 [B, H, W, 3]")
    batch, height, width, _ = frames.shape
    stride = max(contract.strides)
    if contract.frame_hw is not None and (height, width) != contract.frame_hw:
        raise ModelError(
            "frames are {}x{}, the file takes {}x{} only".format(height, width, *contract.frame_hw)
        )
    if not all(side and side % stride == 0 for side in (height, width)):
        raise ModelError(f"frames are {height}x{width}, expected multiples of {stride}")
    if not batch or batch != (contract.batch_size or batch):
        raise ModelError(f"there are {batch} frames, the file takes {contract.batch_size or 'one or more'}")
    return np.ascontiguousarray(frames)


def network_input(frames: NDArray[np.uint8], contract: ExportContract) -> NDArray[Any]:
    """Frames [B, H, W, 3] as the network of a file takes them."""
    form = contract.input
    values: NDArray[Any] = frames
    if form.colour_order == "bgr":
        values = values[..., ::-1]
    if form.layout == "nchw":
        values = values.transpose(0, 3, 1, 2)
    values = np.ascontiguousarray(values)  # bytes are moved faster than floating numbers
    if form.dtype != "uint8":
        values = values.astype(form.dtype)
        if form.scale != 1.0:
            values *= np.dtype(form.dtype).type(form.scale)
    return values


def outputs_of(arrays: Sequence[NDArray[Any]], contract: ExportContract, head: HeadGeometry) -> Outputs:
    """Arrays of a network as outputs. Raises ModelError if they are not what the contract says."""
    values = BOX_VALUES + contract.classes
    anchors = head.anchors_px.shape[1]
    if contract.output in ("predictions", "detections"):
        width = values if contract.output == "predictions" else 6
        _check(len(arrays) == 1 and arrays[0].ndim == 3 and arrays[0].shape[2] == width, arrays, contract)
        rows = arrays[0].astype(np.float32, copy=False)
        return DecodedOutputs(rows) if contract.nms is None else FinalOutputs(rows, contract.nms)
    axis = 1 if contract.output == "planes" else 3
    fits = [array.ndim == 4 and array.shape[axis] == anchors * values for array in arrays]
    _check(len(arrays) == len(head.strides) and all(fits), arrays, contract)
    if contract.output == "planes":
        levels = [array.reshape(len(array), anchors, values, *array.shape[2:]) for array in arrays]
    else:
        levels = [
            array.reshape(*array.shape[:3], anchors, values).transpose(0, 3, 4, 1, 2) for array in arrays
        ]
    return LevelOutputs(levels, head)


def _check(right: bool, arrays: Sequence[NDArray[Any]], contract: ExportContract) -> None:
    if not right:
        shapes = ", ".join(str(list(array.shape)) for array in arrays[:8])
        raise ModelError(
            f"the network's outputs are {shapes}; they are no {contract.output} of {contract.classes} classes",
            fix="export the checkpoint again",
        )
