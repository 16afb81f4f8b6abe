"""The network behind the names and calls that scripts know from torch.hub (inference.md, sections 7 and 10)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vedette.core.nms import NmsSettings
from vedette.core.nms_torch import non_max_suppression
from vedette.core.picture_format import PictureFormat
from vedette.errors import ModelError
from vedette.hub.layer_times import layer_times
from vedette.infer.tta import augmented, clips_tails
from vedette.model.detector import Detector, summary
from vedette.model.fuse import fuse

if TYPE_CHECKING:
    from vedette.hub.autoshape import AutoShape

Predictions = tuple[Tensor, list[Tensor] | None]
"""Decoded float32 [B, N, 5+C], and the raw levels they come from if it was one pass."""

PUBLISHED_NMS = NmsSettings(conf_threshold=0.25, iou_threshold=0.45, multi_label=True, class_offset=4096.0)
"""What ``model.nms()`` appends."""


class HubModel(nn.Module):
    """A detector that answers as the published model does.

    Args:
        detector: the network; it is shared, not copied.
        names: one a class.
        picture_format: of the pictures it was trained on; None: 8 bits a channel.

    Attributes:
        picture_format: of its pictures.
        model: the rows; tensors are named ``model.<row>.…``.
        names: class id to name.
        nc: number of classes.
        stride: float tensor, of the levels in their order.
        yaml: the architecture as plain values.

    Raises:
        ModelError: the number of names is not that of the classes.
    """

    def __init__(
        self, detector: Detector, names: Sequence[str], picture_format: PictureFormat | None = None
    ) -> None:
        super().__init__()
        if len(names) != detector.classes:
            raise ModelError(f"there are {len(names)} class names for {detector.classes} classes")
        self.picture_format = picture_format or PictureFormat(detector.architecture.channels)
        self.names = dict(enumerate(names))
        self.nc = detector.classes
        self.stride = torch.tensor(detector.strides, dtype=torch.float32)
        self.yaml: dict[str, Any] = detector.architecture.to_dict()
        self._ends_in_nms = False
        self._adopt(detector)
        self.train(detector.training)

    @property
    def detector(self) -> Detector:
        """The network as the rest of vedette knows it; it shares all weights with this model."""
        detector: Detector = self.__dict__["_detector"]
        return detector

    def forward(self, x: Tensor, augment: bool = False, profile: bool = False) -> list[Tensor] | Predictions:
        """Predictions of images, floating [B, channels, H, W] in 0..1, sides multiples of the largest stride.

        Args:
            x: the images.
            augment: look at three sizes (evaluation mode only).
            profile: print what each layer costs.

        Returns:
            In training mode the raw levels [B, A, h, w, 5+C]. In evaluation mode (decoded float32 [B, N, 5+C],
            raw levels), or with ``augment`` (decoded, None); after :meth:`nms` one float32 [n, 6] an image.

        Raises:
            ModelError: images of a wrong shape or type.
        """
        with layer_times(self.model, sys.stdout) if profile else contextlib.nullcontext():
            if self.training:
                return self._levels(x)
            decoded, levels = self.predictions(x, augment)
        return non_max_suppression(decoded, PUBLISHED_NMS) if self._ends_in_nms else (decoded, levels)

    def predictions(self, images: Tensor, augment: bool = False) -> Predictions:
        """What the evaluation mode returns without final suppression; arguments as for :meth:`forward`."""
        if augment:
            levels_cut = len(self.detector.strides) if clips_tails(self.detector.architecture.release) else 0
            views = augmented(
                lambda view: self._decoded(self._levels(view)),
                images,
                self.detector.max_stride,
                clipped_levels=levels_cut,
            )
            return views, None
        levels = self._levels(images)
        return self._decoded(levels), levels

    def fuse(self) -> HubModel:
        """Fold every normalisation into its convolution, in place; for inference only."""
        self._adopt(fuse(self.detector))
        return self

    def nms(self, mode: bool = True) -> HubModel:
        """Whether the evaluation mode ends with suppression (score 0.25, IoU 0.45)."""
        self._ends_in_nms = mode
        return self

    def autoshape(self) -> AutoShape:
        """This model behind a call that takes pictures of any kind."""
        from vedette.hub.autoshape import AutoShape

        return AutoShape(self)

    def info(self, verbose: bool = False, img_size: int = 640) -> str:
        """Print and return layers, parameters and GFLOPs; ``verbose`` adds a line a layer."""
        text = describe(self.detector, img_size)
        if verbose:
            text = "\n".join(
                [text]
                + [
                    f"{layer.index:>3} {layer.module:<14} {layer.parameters:>10} parameters, stride {layer.stride}"
                    for layer in summary(self.detector, (img_size, img_size)).layers
                ]
            )
        sys.stdout.write(f"{text}\n")
        return text

    def _adopt(self, detector: Detector) -> None:
        self.model = detector.model
        # Not registered as a child: its weights are those of ``model``, and must be counted and named once.
        self.__dict__["_detector"] = detector

    def _levels(self, images: Tensor) -> list[Tensor]:
        levels: list[Tensor] = self.detector(images)
        return levels

    def _decoded(self, levels: list[Tensor]) -> Tensor:
        return self.detector.head.decode(levels)


def describe(detector: Detector, image_size: int = 640) -> str:
    """A detector on one line."""
    numbers = summary(detector, (image_size, image_size))
    return (
        f"{numbers.name} ({numbers.release}): {len(numbers.layers)} layers, {numbers.parameters} parameters, "
        f"{numbers.gflops:.1f} GFLOPs at {image_size} pixels, {numbers.classes} classes"
    )
