"""Exact rewrites of blocks for inference: fewer and larger operations that say the same.

Each function takes one block whose normalisations are fused, leaves it as it is, and returns its replacement, or the
block itself where the rewrite does not apply. Outputs are equal up to rounding; ``rewrite`` applies them to a network.
The names of tensors change, so what is rewritten is run, not saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from vedette.model.blocks import C3, SPP, BottleneckCSP, Conv, Focus
from vedette.model.fuse import fuse, fuse_convolution

NetworkT = TypeVar("NetworkT", bound=nn.Module)

Rewrite = Callable[[nn.Module], nn.Module]
"""From a fused block to one that replaces it."""


class Branches(nn.Module):
    """Two branches that read the same map, joined: a BottleneckCSP without its joint normalisation.

    Args:
        inner: the branch of the bottlenecks; begins with a Conv.
        side: the other one; begins with a convolution.
        join: reads both.
    """

    def __init__(self, inner: nn.Sequential, side: nn.Sequential, join: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.side = side
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        joined: Tensor = self.join(torch.cat((self.inner(x), self.side(x)), 1))
        return joined


class MergedBranches(nn.Module):
    """A C3, or ``Branches``, whose branches begin with one convolution.

    Args:
        entry: makes the first maps of both branches, those of the inner one first.
        inner: the rest of the branch of the bottlenecks.
        side: the rest of the other one.
        join: reads both.
    """

    def __init__(self, entry: nn.Module, inner: nn.Module, side: nn.Module, join: nn.Module) -> None:
        super().__init__()
        self.entry = entry
        self.inner = inner
        self.side = side
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        inner, side = self.entry(x).chunk(2, 1)
        joined: Tensor = self.join(torch.cat((self.inner(inner), self.side(side)), 1))
        return joined


class CascadedSPP(nn.Module):
    """SPP with its pools in a row: each enlarges what the one before has seen.

    Args:
        cv1: the first convolution of the SPP.
        cv2: the last.
        steps: kernels of the pools in a row.
    """

    def __init__(self, cv1: nn.Module, cv2: nn.Module, steps: Sequence[int]) -> None:
        super().__init__()
        self.cv1 = cv1
        self.cv2 = cv2
        self.m = nn.ModuleList(nn.MaxPool2d(step, 1, step // 2) for step in steps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h, w]."""
        maps = [self.cv1(x)]
        for pool in self.m:
            maps.append(pool(maps[-1]))
        pooled: Tensor = self.cv2(torch.cat(maps, 1))
        return pooled


class PairColumns(nn.Module):
    """Two neighbouring columns become one of twice the channels, those of the left one first.

    For maps whose channels lie together in memory this only looks at them in another way.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, 2 C, h, w/2]."""
        batch, channels, height, width = x.shape
        paired = x.permute(0, 2, 3, 1).reshape(batch, height, width // 2, 2 * channels)
        return paired.permute(0, 3, 1, 2)


def focus_as_convolution(block: nn.Module) -> nn.Module:
    """A Focus as one convolution of twice the kernel, stride and padding, on the picture itself.

    Output cell i of a kernel of k taps reads, in the block of row parity r, the rows 2 (s i + d - p) + r of the picture
    for d = 0 .. k-1: the rows 2 s i - 2 p + t with t = 2 d + r, that is 2 k taps. Columns alike. What lies outside
    the block lies outside the picture.
    """
    if not isinstance(block, Focus):
        return block
    narrow = block.conv.conv
    rows, columns = narrow.kernel_size
    channels = narrow.in_channels // 4
    # [out, column parity, row parity, in, k, k] -> [out, in, k, row parity, k, column parity]
    taps = narrow.weight.reshape(narrow.out_channels, 2, 2, channels, rows, columns)
    taps = taps.permute(0, 3, 4, 2, 5, 1).reshape(narrow.out_channels, channels, 2 * rows, 2 * columns)
    wide = nn.Conv2d(
        channels,
        narrow.out_channels,
        (2 * rows, 2 * columns),
        (2 * narrow.stride[0], 2 * narrow.stride[1]),
        (2 * int(narrow.padding[0]), 2 * int(narrow.padding[1])),
        device="meta",
    )
    wide.weight = nn.Parameter(taps.contiguous(), False)
    wide.bias = narrow.bias
    return _activated(wide, block.conv.act)


def split_joint_normalisation(block: nn.Module) -> nn.Module:
    """A BottleneckCSP as ``Branches``.

    The joint normalisation works on every channel alone, so each half of it is folded into the convolution that makes
    this half; the activation behind it moves into the branches.
    """
    if not isinstance(block, BottleneckCSP):
        return block
    hidden = block.cv2.out_channels
    last = fuse_convolution(block.cv3, _channels_of(block.bn, 0, hidden))
    side = fuse_convolution(block.cv2, _channels_of(block.bn, hidden, 2 * hidden))
    inner = nn.Sequential(block.cv1, *block.m, _activated(last, block.act))
    return Branches(inner, _activated(side, block.act), block.cv4)


def merge_branches(block: nn.Module) -> nn.Module:
    """A C3 or ``Branches`` as ``MergedBranches``."""
    if isinstance(block, C3):
        first, second, act = block.cv1.conv, block.cv2.conv, block.cv1.act
        return MergedBranches(
            _activated(_side_by_side(first, second), act), block.m, nn.Identity(), block.cv3
        )
    if not isinstance(block, Branches):
        return block
    begin, *rest = block.inner
    convolution, side_act = block.side
    assert isinstance(begin, Conv)
    assert isinstance(convolution, nn.Conv2d)
    both = _side_by_side(begin.conv, convolution)
    if repr(begin.act) == repr(side_act):  # activate both halves at once
        return MergedBranches(_activated(both, side_act), nn.Sequential(*rest), nn.Identity(), block.join)
    return MergedBranches(both, nn.Sequential(begin.act, *rest), side_act, block.join)


def cascade_pools(block: nn.Module) -> nn.Module:
    """An SPP as ``CascadedSPP``: pools of a and b in a row see what one of a + b - 1 sees.

    An SPP whose kernels do not grow stays.
    """
    if not isinstance(block, SPP):
        return block
    kernels = [pool.kernel_size for pool in block.m if isinstance(pool.kernel_size, int)]
    steps = [kernel - previous + 1 for previous, kernel in zip([1, *kernels], kernels, strict=False)]
    if min(steps) < 2:
        return block
    return CascadedSPP(block.cv1, block.cv2, steps)


REWRITES: tuple[Rewrite, ...] = (
    focus_as_convolution,
    split_joint_normalisation,
    merge_branches,
    cascade_pools,
)
"""All of them, in an order in which they work."""

RUNTIME_REWRITES: tuple[Rewrite, ...] = (focus_as_convolution, split_joint_normalisation, cascade_pools)
"""Those that pay, in the PyTorch backend and in runtimes that compile a graph: splitting a map costs what the merged
convolution saves, or more (docs/benchmarks.md).
"""


def rewrite(network: NetworkT, rewrites: Sequence[Rewrite] = REWRITES) -> NetworkT:
    """A fused copy for inference in which the blocks are rewritten; the network given is not touched.

    Args:
        network: holds the blocks; is no such block itself.
        rewrites: which, in their order.
    """
    rewritten = fuse(network)
    for parent in list(rewritten.modules()):
        for name, child in list(parent.named_children()):
            for change in rewrites:
                child = change(child)  # noqa: PLW2901 - one rewrite after the other
            setattr(parent, name, child)
    return rewritten


def pair_columns(stem: nn.Module) -> nn.Module:
    """A stem that begins with a convolution of column stride 2, on paired columns: half the kernel, twice the channels.

    A convolution of 3 channels leaves most of a vector empty, and frames need no conversion of their layout this way.
    The kernel and its padding must be even in width, as those of Focus and of v6.0 are; other layers stay.
    """
    if not isinstance(stem, nn.Sequential | Conv):
        return stem
    convolution, activation = (stem.conv, stem.act) if isinstance(stem, Conv) else (stem[0], stem[1:])
    if not isinstance(convolution, nn.Conv2d) or not _pairs(convolution):
        return stem
    outputs, channels, rows, columns = convolution.weight.shape
    # [out, in, rows, pair, parity] -> [out, parity, in, rows, pair]
    taps = convolution.weight.reshape(outputs, channels, rows, columns // 2, 2).permute(0, 4, 1, 2, 3)
    narrow = nn.Conv2d(
        2 * channels,
        outputs,
        (rows, columns // 2),
        (convolution.stride[0], 1),
        (int(convolution.padding[0]), int(convolution.padding[1]) // 2),
        device="meta",
    )
    narrow.weight = nn.Parameter(taps.reshape(outputs, 2 * channels, rows, columns // 2).contiguous(), False)
    narrow.bias = convolution.bias
    return nn.Sequential(PairColumns(), narrow, activation)


def _pairs(convolution: nn.Conv2d) -> bool:
    even = convolution.kernel_size[1] % 2 == 0 and int(convolution.padding[1]) % 2 == 0
    return even and convolution.stride[1] == 2 and convolution.groups == 1 and convolution.dilation == (1, 1)


def scale_input(layer: nn.Module, factor: float, *, reverse_channels: bool = False) -> nn.Module | None:
    """The layer for an input that was not multiplied by ``factor``, and whose channels may run backwards.

    Padding is zero in either scale, so this is exact up to rounding.

    Returns:
        A copy with other weights; None if the layer is no convolution (a Conv, a Focus, or several in a row).
    """
    changed = copy.deepcopy(layer)
    first = changed
    while isinstance(first, nn.Sequential):
        first = first[0]
    channels = 1
    if isinstance(first, Focus):
        first, channels = first.conv, 4
    if isinstance(first, Conv):
        first = first.conv
    if not isinstance(first, nn.Conv2d) or first.padding_mode != "zeros":
        return None
    if reverse_channels and first.groups != 1:
        return None
    weight = first.weight.detach()
    if reverse_channels:
        blocks = weight.reshape(weight.shape[0], channels, -1, *weight.shape[2:])
        weight = blocks.flip(2).reshape(weight.shape)
    first.weight = nn.Parameter(weight * factor, False)
    return changed


def _activated(convolution: nn.Conv2d, activation: nn.Module) -> nn.Sequential:
    """A fused Conv of these parts."""
    own = copy.deepcopy(activation)
    if hasattr(own, "inplace"):
        own.inplace = True  # type: ignore[assignment]
    return nn.Sequential(convolution, own)


def _side_by_side(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """One convolution that gives the outputs of both, one after the other; both have a bias and read the same."""
    if first.bias is None or second.bias is None:
        raise TypeError("only fused convolutions can be merged")
    both = copy.deepcopy(first)
    both.out_channels = first.out_channels + second.out_channels
    both.weight = nn.Parameter(torch.cat((first.weight, second.weight)).detach(), False)
    both.bias = nn.Parameter(torch.cat((first.bias, second.bias)).detach(), False)
    return both


def _channels_of(normalisation: nn.BatchNorm2d, start: int, stop: int) -> nn.BatchNorm2d:
    """The normalisation of some of its channels."""
    part = copy.deepcopy(normalisation)
    part.num_features = stop - start
    for name in ("weight", "bias"):
        setattr(part, name, nn.Parameter(getattr(normalisation, name)[start:stop].detach(), False))
    for name in ("running_mean", "running_var"):
        setattr(part, name, getattr(normalisation, name)[start:stop])
    return part
