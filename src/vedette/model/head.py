"""Detect, the head: output convolutions, and the decode of raw levels to boxes and scores, in float32.

Formulas: specification ``model.md`` section 4; golden ``decode.json`` and ``bias_init.json``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vedette.model.anchors import Anchors

BOX_VALUES = 5
"""tx, ty, tw, th and objectness come before the classes."""

# A published bias makes 8 objects in a 640 x 640 image the first guess.
_PRIOR_OBJECTS = 8.0
_PRIOR_SIDE = 640.0
_CLASS_PRIOR = 0.6
_CERTAINTY = 0.9999


class Detect(nn.Module):
    """Raw predictions of every level.

    Args:
        classes: C.
        anchors_px: per level the (width, height) pairs; levels are turned round if they run against ``strides``.
        strides: of the levels, in their order.
        in_channels: of the levels; empty if their output convolutions are rows of the table (v1.0).
        anchor_grid: also keep the anchors in pixels, in a buffer that older releases store.

    Attributes:
        strides: of the levels; v1.0 goes from coarse to fine, later releases from fine to coarse.
        anchors: buffer float32 [L, A, 2], (width, height) in cells; float32 whatever the network's precision.
    """

    anchors: Tensor

    def __init__(
        self,
        classes: int,
        anchors_px: Anchors,
        strides: Sequence[int],
        in_channels: Sequence[int],
        *,
        anchor_grid: bool,
    ) -> None:
        super().__init__()
        self.classes = classes
        self.strides = tuple(strides)
        ordered = _in_order_of_strides(anchors_px, self.strides)
        cells = [
            [(width / stride, height / stride) for width, height in level]
            for level, stride in zip(ordered, self.strides, strict=True)
        ]
        self.register_buffer("anchors", torch.tensor(cells, dtype=torch.float32))
        if anchor_grid:
            grid = torch.tensor(ordered, dtype=torch.float32)[:, None, :, None, None, :]
            self.register_buffer("anchor_grid", grid)
        self.anchors_per_level = len(ordered[0])
        self.outputs = classes + BOX_VALUES
        if in_channels:
            width = self.anchors_per_level * self.outputs
            self.m = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels in in_channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps [B, C_level, h, w] -> raw levels [B, A, h, w, 5+C], as views of the convolutions' outputs."""
        return self.levels(self.convolve(maps))

    def convolve(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps [B, C_level, h, w] -> planes [B, A*(5+C), h, w], as the output convolutions give them."""
        if "m" not in self._modules:
            return maps
        return [convolution(x) for convolution, x in zip(self.m, maps, strict=True)]

    def levels(self, planes: Sequence[Tensor]) -> list[Tensor]:
        """Planes [B, A*(5+C), h, w] -> raw levels [B, A, h, w, 5+C], as views."""
        return [
            x.view(x.shape[0], self.anchors_per_level, self.outputs, x.shape[2], x.shape[3]).permute(
                0, 1, 3, 4, 2
            )
            for x in planes
        ]

    def anchors_px(self) -> Tensor:
        """Anchors in pixels of the frame, float32 [L, A, 2], (width, height)."""
        # One product a level, not one with a new tensor of strides, so that it can be traced.
        return torch.stack([self.anchors[level] * stride for level, stride in enumerate(self.strides)])

    def decode(self, levels: Sequence[Tensor]) -> Tensor:
        """Boxes and scores of raw levels.

        Args:
            levels: [B, A, h, w, 5+C] of any floating type, in the order of ``strides``.

        Returns:
            float32 [B, N, 5+C]: cx, cy, w, h in pixels of the frame, objectness, class scores (0..1, each on its
            own). N runs over levels, then anchors, rows, columns.
        """
        anchors = self.anchors_px()
        decoded = [
            _decode_level(level, anchors[number], stride)
            for number, (level, stride) in enumerate(zip(levels, self.strides, strict=True))
        ]
        return torch.cat(decoded, 1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Detect:
        """Move as any module does, but keep the anchors in float32: bfloat16 would shift them by percents."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in before.items():
            moved = self._buffers[name]
            if buffer is not None and moved is not None and moved.dtype != buffer.dtype:
                self._buffers[name] = buffer.to(moved.device)
        return self


def _decode_level(level: Tensor, anchors_px: Tensor, stride: int) -> Tensor:
    height, width = level.shape[2], level.shape[3]
    columns = torch.arange(width, dtype=torch.float32, device=level.device)
    rows = torch.arange(height, dtype=torch.float32, device=level.device)
    cells = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)  # [h, w, 2], (x, y)
    return decode_logits(level, cells, anchors_px[:, None, None, :], stride).flatten(1, 3)  # [B, A*h*w, 5+C]


def decode_logits(logits: Tensor, cells_xy: Tensor, anchors_px: Tensor, strides: Tensor | int) -> Tensor:
    """Boxes and scores of raw values, wherever they lie; the arguments broadcast against each other.

    Args:
        logits: [..., 5+C] of any floating type.
        cells_xy: [..., 2], column and row.
        anchors_px: [..., 2], width and height in pixels of the frame.
        strides: pixels a cell; a tensor is [..., 1].

    Returns:
        float32 [..., 5+C]: as of ``Detect.decode``, bit for bit.
    """
    values = logits.float().sigmoid()
    centre = (values[..., 0:2] * 2.0 - 0.5 + cells_xy) * strides
    size = (values[..., 2:4] * 2.0) ** 2 * anchors_px
    return torch.cat((centre, size, values[..., 4:]), -1)


def _in_order_of_strides(anchors_px: Anchors, strides: tuple[int, ...]) -> Anchors:
    """Anchors listed coarse to fine for fine-to-coarse strides, or the reverse, are turned round."""
    areas = [width * height for level in anchors_px for width, height in level]
    growth = areas[-1] - areas[0]
    if growth * (strides[-1] - strides[0]) < 0:
        return anchors_px[::-1]
    return anchors_px


def published_bias_offsets(
    stride: int,
    classes: int,
    *,
    class_prior_offset: float = 0.99,
    class_frequencies: Sequence[float] | None = None,
) -> tuple[float, list[float]]:
    """What the releases add to the default-initialised output biases, so that learning starts from few objects.

    Args:
        stride: of the level.
        classes: C.
        class_prior_offset: 0.99, in v6.0 and v7.0 0.99999.
        class_frequencies: how often each class occurs, if known.

    Returns:
        Objectness offset ln(8 / (640/stride)^2), and one class offset a class: ln(0.6 / (C - offset)), or
        ln(f / sum f). For one class the former is the logarithm of 60: no probability.
    """
    objectness = math.log(_PRIOR_OBJECTS / (_PRIOR_SIDE / stride) ** 2)
    if class_frequencies is not None:
        total = math.fsum(class_frequencies)
        return objectness, [math.log(frequency / total) for frequency in class_frequencies]
    return objectness, [math.log(_CLASS_PRIOR / (classes - class_prior_offset))] * classes


def bias_offsets(stride: int, classes: int, *, class_prior_offset: float = 0.99) -> tuple[float, list[float]]:
    """The published offsets, except for a single class.

    Every object is of the only class, so its prior is a probability of (nearly) 1: the offset is the log-odds of
    0.9999. The published 4.09 lets the untrained class channel, whose loss is left out for one class, lower every
    confidence by an amount that varies from place to place.
    """
    objectness, class_offsets = published_bias_offsets(stride, classes, class_prior_offset=class_prior_offset)
    if classes == 1:
        class_offsets = [math.log(_CERTAINTY / (1.0 - _CERTAINTY))]
    return objectness, class_offsets


def initialise_biases(
    convolution: nn.Conv2d, stride: int, classes: int, *, class_prior_offset: float
) -> None:
    """Add ``bias_offsets`` to the bias of an output convolution, in place."""
    if convolution.bias is None:
        raise TypeError("an output convolution has a bias")
    objectness, class_offsets = bias_offsets(stride, classes, class_prior_offset=class_prior_offset)
    with torch.no_grad():
        bias = convolution.bias.view(-1, BOX_VALUES + classes)
        bias[:, BOX_VALUES - 1] += objectness
        bias[:, BOX_VALUES:] += torch.tensor(class_offsets, dtype=bias.dtype, device=bias.device)
