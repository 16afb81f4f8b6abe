"""The PyTorch backend: the rewritten detector, run eagerly or compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from vedette.core.decode import BOX_VALUES, ChosenCells, HeadGeometry, decode_chosen, logit_threshold
from vedette.core.device import Precision, select_dtype
from vedette.core.nms import NmsSettings, Suppressed, suppress
from vedette.core.nms_torch import suppress as suppress_tensors
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import FloatArray, SizeHW
from vedette.core.unit_range import unit_range
from vedette.errors import ModelError
from vedette.infer.backends import Frames, Inspection, Look
from vedette.infer.backends.compiled import CompiledNetwork
from vedette.infer.outputs import LevelOutputs
from vedette.model.detector import Detector
from vedette.model.head import Detect
from vedette.model.rewrites import RUNTIME_REWRITES, rewrite

Network = Callable[[torch.Tensor], list[torch.Tensor]]
"""From images, floating [B, c, H, W] in 0..1, to raw levels [B, A, h, w, 5+C]."""

PRECISION_NAMES = {torch.float32: "float32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_GREY = 114


@dataclass(frozen=True, slots=True)
class TensorOutputs:
    """Raw levels as tensors [B, A, h, w, 5+C], in the network's precision, and the detector's head."""

    levels: Sequence[torch.Tensor]
    head: Detect

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """What to keep of each picture, in frame pixels. Raises ModelError."""
        if self.levels[0].device.type == "cuda":
            return _suppress_on_device(self.tensor(), settings)
        threshold = logit_threshold(settings.conf_threshold)
        chosen = [_cells_above(level, threshold) for level in self.levels]
        decoded = decode_chosen(chosen, head_geometry(self.head), len(self.levels[0]))
        return [suppress(picture.rows, settings, picture.numbers) for picture in decoded]

    def decoded(self) -> FloatArray:
        """Predictions of all cells, float32 [B, N, 5+C]."""
        predictions: FloatArray = self.tensor().cpu().numpy()
        return predictions

    @torch.inference_mode()
    def tensor(self) -> torch.Tensor:
        """Predictions of all cells, float32 [B, N, 5+C], where the network ran."""
        return self.head.decode(self.levels)


@dataclass(frozen=True, slots=True)
class TensorPredictions:
    """Decoded predictions as a tensor, float32 [B, N, 5+C]."""

    predictions: torch.Tensor

    def suppress(self, settings: NmsSettings) -> list[Suppressed]:
        """What to keep of each picture, in frame pixels. Raises ModelError."""
        if self.predictions.device.type == "cuda":
            return _suppress_on_device(self.predictions, settings)
        return [suppress(picture, settings) for picture in self.decoded()]

    def decoded(self) -> FloatArray:
        """The predictions as an array."""
        predictions: FloatArray = self.predictions.cpu().numpy()
        return predictions


def _suppress_on_device(predictions: torch.Tensor, settings: NmsSettings) -> list[Suppressed]:
    """Suppression where the predictions are: thousands of candidates are resolved faster on a GPU."""
    return [
        Suppressed(
            kept.detections.cpu().numpy(), kept.rows.cpu().numpy(), kept.complete, kept.non_finite_rows
        )
        for kept in suppress_tensors(predictions, settings)
    ]


def head_geometry(head: Detect) -> HeadGeometry:
    """Strides and anchors of a head as plain values."""
    return HeadGeometry(head.strides, head.anchors_px().cpu().numpy(), head.classes)


@torch.inference_mode()
def _cells_above(level: torch.Tensor, threshold: float) -> ChosenCells:
    """As :func:`vedette.core.decode.cells_above`, for a tensor [B, A, h, w, 5+C] of any precision."""
    objectness = level[..., BOX_VALUES - 1].contiguous()  # comparing a strided plane costs several times more
    places = (~(objectness <= threshold)).nonzero(as_tuple=True)
    logits = level[places].float().cpu().numpy()
    picture, anchor, row, column = (place.cpu().numpy() for place in places)
    return ChosenCells(logits, (picture, anchor, row, column), (level.shape[2], level.shape[3]))


class TorchBackend:
    """Runs a fused and rewritten copy of a detector; its layers keep their numbers and names.

    The division by 255 stays outside: folded into the first convolution (``rewrites.scale_input``) it would save
    0.1 ms a frame of 640 x 640 pixels, and weights 255 times smaller leave the normal range of float16.

    Args:
        detector: the detector; it is copied, not changed.
        device: where to run.
        precision: number format of the network's weights and layers; decoding is float32 always.
        channels_last: keep the channels of a pixel together in memory, which convolutions prefer.
        picture_format: of the frames.
        compile: run it through torch.compile; see :mod:`vedette.infer.backends.compiled`.

    Raises:
        UsageError: the device has no such precision, or torch cannot compile here.
    """

    def __init__(
        self,
        detector: Detector,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        channels_last: bool = True,
        picture_format: PictureFormat = RGB8,
        *,
        compile: bool = False,
    ) -> None:
        self._device = torch.device(device)
        self._dtype = select_dtype(precision, self._device)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._picture_format = picture_format
        rewritten = rewrite(detector, RUNTIME_REWRITES)
        self._strides = tuple(int(stride) for stride in rewritten.strides)
        self._classes = int(rewritten.classes)
        self._detector = rewritten.to(self._device, self._dtype)
        # torch's annotations lack this one of its documented forms.
        self._detector.to(memory_format=self._format)  # type: ignore[call-overload]
        self._network: Network = CompiledNetwork(self._detector, self._device) if compile else self._detector

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

    @property
    def frame_hw(self) -> SizeHW | None:
        """None: any size."""
        return None

    @property
    def batch_size(self) -> int | None:
        """None: any number of frames."""
        return None

    def run(self, frames: Frames) -> TensorOutputs:
        """Run the network on frames, RGB uint8 [B, H, W, 3]. Raises ModelError."""
        levels = self.levels(frames)
        wait_for(self._device)
        return TensorOutputs(levels, self._detector.head)

    def infer(self, frames: Frames) -> torch.Tensor:
        """Decoded predictions float32 [B, N, 5+C] of frames, RGB uint8 [B, H, W, 3]. Raises ModelError."""
        return self.run(frames).tensor()

    @torch.inference_mode()
    def run_views(self, frames: Frames, look: Look) -> TensorPredictions:
        """What ``look`` makes of the frames as images, floating [B, c, H, W] in 0..1. Raises ModelError."""
        predictions = look(lambda images: self.decode(self._network(images)), self._images(frames))
        wait_for(self._device)
        return TensorPredictions(predictions)

    @torch.inference_mode()
    def levels(self, frames: Frames) -> list[torch.Tensor]:
        """Raw levels [B, A, h, w, 5+C] of frames, in the network's precision. Raises ModelError."""
        return self._network(self._images(frames))

    @property
    def level_inputs(self) -> tuple[int, ...]:
        """Index of the layer that each level's output convolution reads."""
        return self._detector.level_inputs

    @property
    def shown_layers(self) -> tuple[int, ...]:
        """All layers up to the last that a level is computed from."""
        return tuple(range(max(self.level_inputs) + 1))

    @torch.inference_mode()
    def features(self, frames: Frames, layers: Sequence[int | str]) -> dict[int | str, FloatArray]:
        """Maps [B, c, h, w] of chosen layers; what lies behind the last of them is not run. Raises ModelError."""
        return _arrays(self._detector.features(self._images(frames), layers))

    @torch.inference_mode()
    def inspect(self, frames: Frames, layers: Sequence[int | str]) -> Inspection:
        """Raw levels with what they were computed from, in one pass. Raises ModelError."""
        levels, maps = self._detector.inspect(self._images(frames), layers)
        raw = [level.float().permute(0, 1, 4, 2, 3).cpu().numpy() for level in levels]
        return Inspection(LevelOutputs(raw, head_geometry(self._detector.head)), _arrays(maps))

    @torch.inference_mode()
    def decode(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Predictions float32 [B, N, 5+C] of raw levels."""
        predictions: torch.Tensor = self._detector.head.decode(levels)
        return predictions

    def warm_up(self, frame_hw: SizeHW, batch_size: int = 1) -> None:
        """Run once on grey frames of that size."""
        pictures = self._picture_format
        shape = (batch_size, *frame_hw, pictures.channels)
        self.run(np.full(shape, pictures.grey(_GREY), dtype=pictures.dtype))

    def _images(self, frames: Frames) -> torch.Tensor:
        return images_of(
            frames, max(self._strides), self._device, self._dtype, self._format, self._picture_format
        )


def _arrays(maps: Mapping[int | str, torch.Tensor]) -> dict[int | str, FloatArray]:
    return {layer: found.float().cpu().numpy() for layer, found in maps.items()}


def wait_for(device: torch.device) -> None:
    """Let the device finish, so that its time is counted where it is spent."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def images_of(
    frames: Frames,
    stride: int,
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format = torch.contiguous_format,
    picture_format: PictureFormat = RGB8,
) -> torch.Tensor:
    """Frames as a network takes them: floating [B, C, H, W] in 0..1; samples travel to the device as they are.

    Raises:
        ModelError: the frames have another shape or type, or a side is no multiple of the stride.
    """
    checked = _checked(frames, stride, picture_format)
    if picture_format.bits == 8 and picture_format.takes_all_values:
        images = checked.to(device, non_blocking=True).permute(0, 3, 1, 2)
        # 0..255 are exact in every format; the division rounds once.
        return images.to(dtype, memory_format=memory_format).div_(255)
    # 16 bits are exact in float32 alone.
    scaled = unit_range(checked, picture_format, device).permute(0, 3, 1, 2)
    return scaled.to(dtype, memory_format=memory_format)


def _checked(frames: Frames, stride: int, picture_format: PictureFormat) -> torch.Tensor:
    if isinstance(frames, np.ndarray):
        # A read-only array cannot be wrapped without a warning.
        frames = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
    channels, dtype = picture_format.channels, torch.uint8 if picture_format.bits == 8 else torch.uint16
    if frames.dtype != dtype or frames.ndim != 4 or frames.shape[3] != channels:
        expected = f"{dtype} [B, H, W, {channels}]"
        raise ModelError(f"frames are {frames.dtype} {list(frames.shape)}, expected {expected}")
    if not all(side and side % stride == 0 for side in frames.shape[1:3]):
        raise ModelError(f"frames are {frames.shape[1]}x{frames.shape[2]}, expected multiples of {stride}")
    return frames
