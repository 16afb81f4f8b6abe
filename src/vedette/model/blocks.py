"""The modules of the published networks. All maps are float [B, C, h, w]; convolutions have no bias unless said.

The names of submodules and their order are the names and the order of tensors in checkpoints.
Definitions: specification ``model.md`` section 3, of SPPF section 8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BN_MOMENTUM = 0.03

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "Hardswish": nn.Hardswish,
    "Identity": nn.Identity,
    "LeakyReLU": nn.LeakyReLU,
    "LeakyReLU(0.1)": lambda: nn.LeakyReLU(0.1),
    "Mish": nn.Mish,
    "ReLU": nn.ReLU,
    "ReLU6": nn.ReLU6,
    "SiLU": nn.SiLU,
}
"""Activation by the name an architecture gives it."""


@dataclass(frozen=True, slots=True)
class Style:
    """What all blocks of one network share.

    Attributes:
        activation: makes, or hands out, the activation of a Conv.
        csp_activation: makes the activation of BottleneckCSP.
        bn_eps: eps of batch normalisation.
    """

    activation: Callable[[], nn.Module] = nn.SiLU
    csp_activation: Callable[[], nn.Module] = ACTIVATIONS["LeakyReLU(0.1)"]
    bn_eps: float = 1e-3

    def batch_norm(self, channels: int) -> nn.BatchNorm2d:
        """Batch normalisation as all releases have it, besides eps."""
        return nn.BatchNorm2d(channels, eps=self.bn_eps, momentum=BN_MOMENTUM)


class Conv(nn.Module):
    """activation(normalisation(convolution(x))); after fusing there is no normalisation.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        style: activation and normalisation.
        kernel: side of the kernel.
        stride: step.
        padding: border in pixels; None means half the kernel.
        groups: of the convolution.
    """

    def __init__(  # noqa: PLR0913 - the arguments of a published row
        self,
        in_channels: int,
        out_channels: int,
        style: Style,
        *,
        kernel: int = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        border = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, border, groups=groups, bias=False)
        self.bn: nn.BatchNorm2d | None = style.batch_norm(out_channels)
        self.act = style.activation()

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h / stride, w / stride]."""
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        activated: Tensor = self.act(x)
        return activated


class DWConv(Conv):
    """Conv with as many groups as its channels allow."""

    def __init__(
        self, in_channels: int, out_channels: int, style: Style, *, kernel: int = 1, stride: int = 1
    ) -> None:
        groups = math.gcd(in_channels, out_channels)
        super().__init__(in_channels, out_channels, style, kernel=kernel, stride=stride, groups=groups)


class Focus(nn.Module):
    """Moves each 2 x 2 block of pixels into channels, then a Conv.

    Channel block b = 0..3 takes the rows of parity b mod 2 and the columns of parity b div 2; inside a block the
    channels keep their order.
    """

    def __init__(
        self, in_channels: int, out_channels: int, style: Style, *, kernel: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = Conv(4 * in_channels, out_channels, style, kernel=kernel, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h/2, w/2] at stride 1."""
        blocks = [x[..., row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.conv(torch.cat(blocks, 1))
        return merged


class Bottleneck(nn.Module):
    """1x1 then 3x3 Conv, added to the input if ``shortcut`` and the channels are equal."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        style: Style,
        *,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, style)
        self.cv2 = Conv(hidden, out_channels, style, kernel=3, groups=groups)
        self.add = shortcut and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        y: Tensor = self.cv2(self.cv1(x))
        return x + y if self.add else y


def _bottlenecks(count: int, channels: int, style: Style, *, shortcut: bool, groups: int) -> nn.Sequential:
    return nn.Sequential(
        *(
            Bottleneck(channels, channels, style, shortcut=shortcut, groups=groups, expansion=1.0)
            for _ in range(count)
        )
    )


class C3(nn.Module):
    """Two branches of half the width, one through bottlenecks, joined by a 1x1 Conv (v4.0 and later)."""

    def __init__(  # noqa: PLR0913 - the arguments of a published row
        self,
        in_channels: int,
        out_channels: int,
        style: Style,
        *,
        repeats: int = 1,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, style)
        self.cv2 = Conv(in_channels, hidden, style)
        self.cv3 = Conv(2 * hidden, out_channels, style)
        self.m = _bottlenecks(repeats, hidden, style, shortcut=shortcut, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        joined: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return joined


class BottleneckCSP(nn.Module):
    """The C3 of v1.0 to v3.1: plain 1x1 convolutions end both branches, which share one normalisation."""

    def __init__(  # noqa: PLR0913 - the arguments of a published row
        self,
        in_channels: int,
        out_channels: int,
        style: Style,
        *,
        repeats: int = 1,
        shortcut: bool = True,
        groups: int = 1,
        expansion: float = 0.5,
    ) -> None:
        super().__init__()
        hidden = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, hidden, style)
        self.cv2 = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.cv3 = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.cv4 = Conv(2 * hidden, out_channels, style)
        self.bn = style.batch_norm(2 * hidden)
        self.act = style.csp_activation()
        self.m = _bottlenecks(repeats, hidden, style, shortcut=shortcut, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        branches = torch.cat((self.cv3(self.m(self.cv1(x))), self.cv2(x)), 1)
        joined: Tensor = self.cv4(self.act(self.bn(branches)))
        return joined


class SPP(nn.Module):
    """Max-pools of several sizes side by side, between two 1x1 Convs."""

    def __init__(
        self, in_channels: int, out_channels: int, style: Style, *, kernels: Sequence[int] = (5, 9, 13)
    ) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden, style)
        self.cv2 = Conv((len(kernels) + 1) * hidden, out_channels, style)
        self.m = nn.ModuleList(nn.MaxPool2d(kernel, 1, kernel // 2) for kernel in kernels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        x = self.cv1(x)
        pooled: Tensor = self.cv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))
        return pooled


class SPPF(nn.Module):
    """SPP with pools in a row (v6.0 and later): three of size 5 see what 5, 9 and 13 see."""

    def __init__(self, in_channels: int, out_channels: int, style: Style, *, kernel: int = 5) -> None:
        super().__init__()
        hidden = in_channels // 2
        self.cv1 = Conv(in_channels, hidden, style)
        self.cv2 = Conv(4 * hidden, out_channels, style)
        self.m = nn.MaxPool2d(kernel, 1, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        maps = [self.cv1(x)]
        for _ in range(3):
            maps.append(self.m(maps[-1]))
        pooled: Tensor = self.cv2(torch.cat(maps, 1))
        return pooled


class Concat(nn.Module):
    """Joins maps of one size along the channels, in the order given."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        """List of [B, C_i, h, w] -> [B, sum C_i, h, w]."""
        return torch.cat(maps, 1)
