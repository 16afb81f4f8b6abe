"""The network as exported files and other runtimes hold it: frames as bytes in, raw outputs or predictions out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.errors import UsageError
from vedette.model.detector import Detector
from vedette.model.rewrites import RUNTIME_REWRITES, Rewrite, pair_columns, rewrite, scale_input

Output = Literal["planes", "cells", "predictions"]
"""What a ``FrameDetector`` gives."""

_SHRINKING = 256.0


class FrameDetector(nn.Module):
    """A rewritten detector that takes letterboxed pictures as they lie in memory.

    The division by 255 is part of the first convolution. In eval mode, without gradients; the detector given is not
    touched. It can be traced and exported, with any batch and any sides that are multiples of ``max_stride``; it
    checks nothing. Converting it to another floating type changes the network, not the frames.

    ``output`` says what ``forward`` gives:

    * ``planes``: per level what its output convolution gives, [B, A*(5+C), h, w], in the network's precision;
    * ``cells``: the same with the values of a cell together, [B, h, w, A*(5+C)]: how runtimes that keep channels
      last have it in memory, so nothing is moved;
    * ``predictions``: float32 [B, N, 5+C], decoded, as of ``Detect.decode``.

    Levels are in the order of ``strides``. Behind them come the maps [B, c, h, w] of ``layers``, in the network's
    precision.

    Args:
        detector: the detector.
        output: see above.
        picture_format: what the samples of frames mean.
        reverse_channels: frames are BGR instead of RGB.
        rewrites: of its blocks.
        paired: read two columns of the frame at once (``rewrites.pair_columns``).

    Attributes:
        output: as given.
        layers: indices of layers whose maps are given, too; none until set.
        channels: of the frames.
        max_stride: frame sides are multiples of it.
        strides: of the levels.

    Raises:
        UsageError: there is no such output.
    """

    def __init__(
        self,
        detector: Detector,
        output: Output = "cells",
        *,
        picture_format: PictureFormat = RGB8,
        reverse_channels: bool = False,
        rewrites: Sequence[Rewrite] = RUNTIME_REWRITES,
        paired: bool = True,
    ) -> None:
        super().__init__()
        if output not in get_args(Output):
            raise UsageError(f"no output {output!r}", fix=f"choose from {', '.join(get_args(Output))}")
        self.network = rewrite(detector, rewrites)
        self.output = output
        self.layers: tuple[int, ...] = ()
        self._shrinking = 1.0
        self.channels = detector.architecture.channels
        self.max_stride = detector.max_stride
        self.strides = detector.strides
        # A range that cuts values off comes before the padding, whose zeros would mean something else after it.
        stem = None
        if picture_format.takes_all_values:
            factor = 1.0 / picture_format.largest
            stem = scale_input(self.network.model[0], factor, reverse_channels=reverse_channels)
        self._range = picture_format.value_range if stem is None else None
        self._reverse = stem is None and reverse_channels
        if stem is not None:
            self.network.model[0] = pair_columns(stem) if paired else stem
        self.eval()

    @property
    def dtype(self) -> torch.dtype:
        """Floating type of the network."""
        return next(self.network.parameters()).dtype

    def shrink_frames(self) -> None:
        """Divide frames by 256 and multiply the first weights by as much, once, before a conversion to float16.

        Divided by 255, up to a sixth of the first weights are below the normal numbers of float16 (6.1e-5), and some
        processors and compilers take such numbers for zero. A power of two changes no digit of anything. A network
        whose first layer does not take the division by 255 needs nothing.
        """
        if self._range is not None:
            return
        first = next(layer for layer in self.network.model[0].modules() if isinstance(layer, nn.Conv2d))
        first.weight = nn.Parameter(first.weight.detach() * _SHRINKING, False)
        self._shrinking = 1.0 / _SHRINKING

    @property
    def output_names(self) -> tuple[str, ...]:
        """One name an output: ``stride8`` and so on, or ``predictions``; then ``layer17`` and so on."""
        raw = [f"stride{stride}" for stride in self.strides]
        maps = [f"layer{layer}" for layer in self.layers]
        return (*(["predictions"] if self.output == "predictions" else raw), *maps)

    def forward(self, frames: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Frames uint8 or uint16 [B, H, W, channels] -> see ``output``."""
        return self.from_planes(frames.permute(0, 3, 1, 2))

    def from_planes(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As ``forward``, for the same values in any type as [B, channels, H, W]."""
        images = images.to(self.dtype)
        if self._shrinking != 1.0:
            images = images * self._shrinking
        if self._range is not None:
            low, high = self._range
            images = images.clamp(low, high).sub(low).div(high - low)
        if self._reverse:
            images = images.flip(1)
        planes, maps = self.network.planes_and_maps(images, self.layers)
        if self.output == "planes":
            return (*planes, *maps)
        if self.output == "cells":
            return (*(plane.permute(0, 2, 3, 1) for plane in planes), *maps)
        predictions: Tensor = self.network.head.decode(self.network.head.levels(planes))
        return (predictions, *maps) if maps else predictions
