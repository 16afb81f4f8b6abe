from __future__ import annotations

import pytest
import torch
from torch import nn

from vedette.model import blocks
from vedette.model.blocks import (
    ACTIVATIONS,
    C3,
    SPP,
    SPPF,
    Bottleneck,
    BottleneckCSP,
    Concat,
    Conv,
    DWConv,
    Focus,
    Style,
)
from vedette.model.rows import ACTIVATIONS as ACTIVATION_NAMES

STYLE = Style(bn_eps=1e-4)


def image(channels: int = 8, side: int = 12) -> torch.Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_activations_are_those_an_architecture_may_name() -> None:
    assert tuple(sorted(ACTIVATIONS)) == ACTIVATION_NAMES
    x = torch.tensor([-2.0, 0.5])
    assert ACTIVATIONS["LeakyReLU(0.1)"]()(x).tolist() == pytest.approx([-0.2, 0.5])
    assert ACTIVATIONS["LeakyReLU"]()(x).tolist() == pytest.approx([-0.02, 0.5])
    assert ACTIVATIONS["SiLU"]()(x).tolist() == pytest.approx([-0.2384058, 0.3112297])
    assert ACTIVATIONS["Hardswish"]()(x).tolist() == pytest.approx([-2 / 6, 0.5 * 3.5 / 6])


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side"), [(3, 2, None, 6), (6, 2, 2, 6), (1, 1, None, 12)]
)
def test_conv(kernel: int, stride: int, padding: int | None, side: int) -> None:
    conv = Conv(8, 16, STYLE, kernel=kernel, stride=stride, padding=padding)
    assert conv(image()).shape == (2, 16, side, side)
    assert conv.conv.bias is None
    assert conv.bn is not None
    assert (conv.bn.eps, conv.bn.momentum) == (1e-4, 0.03)


def test_depthwise_conv_has_as_many_groups_as_fit() -> None:
    assert DWConv(12, 18, STYLE, kernel=3).conv.groups == 6


def test_focus_takes_parities_block_by_block() -> None:
    """Block b holds rows of parity b mod 2 and columns of parity b div 2, each with all channels in order."""
    focus = Focus(2, 8, STYLE, kernel=1).eval()
    with torch.no_grad():
        focus.conv.conv.weight.copy_(torch.eye(8)[:, :, None, None])
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    focus.conv.bn = None
    focus.conv.act = nn.Identity()
    y = focus(x)
    for block in range(4):
        for channel in range(2):
            expected = x[0, channel, block % 2 :: 2, block // 2 :: 2]
            assert torch.equal(y[0, 2 * block + channel], expected)


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "shortcut", "added"),
    [(8, 8, True, True), (8, 8, False, False), (8, 16, True, False)],
)
def test_bottleneck_adds_its_input_only_where_it_can(
    in_channels: int, out_channels: int, shortcut: bool, added: bool
) -> None:
    block = Bottleneck(in_channels, out_channels, STYLE, shortcut=shortcut).eval()
    x = image(in_channels)
    with torch.no_grad():
        expected = block.cv2(block.cv1(x))
        assert torch.equal(block(x), x + expected if added else expected)


def test_c3_joins_the_deep_branch_first() -> None:
    block = C3(8, 16, STYLE, repeats=2).eval()
    x = image()
    with torch.no_grad():
        expected = block.cv3(torch.cat((block.m[1](block.m[0](block.cv1(x))), block.cv2(x)), 1))
        assert torch.equal(block(x), expected)
    assert [bottleneck.add for bottleneck in block.m] == [True, True]  # type: ignore[union-attr]


def test_bottleneck_csp_normalises_both_branches_together() -> None:
    block = BottleneckCSP(8, 16, STYLE, shortcut=False).eval()
    x = image()
    with torch.no_grad():
        joined = torch.cat((block.cv3(block.m(block.cv1(x))), block.cv2(x)), 1)
        expected = block.cv4(nn.functional.leaky_relu(block.bn(joined), 0.1))
        assert torch.equal(block(x), expected)


def test_pools_in_a_row_equal_pools_side_by_side() -> None:
    parallel, cascaded = SPP(8, 12, STYLE).eval(), SPPF(8, 12, STYLE).eval()
    cascaded.load_state_dict(parallel.state_dict())
    with torch.no_grad():
        assert torch.equal(cascaded(image(side=20)), parallel(image(side=20)))


def test_concat_keeps_the_order() -> None:
    a, b = image(2), image(3)
    assert torch.equal(Concat()([a, b]), torch.cat((a, b), 1))


def test_every_block_explains_itself() -> None:
    assert all(
        getattr(blocks, name).__doc__ for name in ("Conv", "C3", "BottleneckCSP", "SPP", "SPPF", "Focus")
    )
