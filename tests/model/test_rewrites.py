from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.model.test_fuse import stir
from vedette.model.blocks import C3, SPP, SPPF, BottleneckCSP, Conv, Focus, Style
from vedette.model.detector import build_detector
from vedette.model.fuse import fuse
from vedette.model.rewrites import (
    REWRITES,
    Branches,
    CascadedSPP,
    MergedBranches,
    PairColumns,
    cascade_pools,
    focus_as_convolution,
    merge_branches,
    pair_columns,
    rewrite,
    scale_input,
    split_joint_normalisation,
)

SILU = Style()
LEAKY = Style(lambda: nn.LeakyReLU(0.1))
RELEASES = ("tiny", "yolov5s@v1.0", "yolov5s@v3.1", "yolov5n@v6.0", "yolov5n6@v7.0")
SIZES = ((64, 192), (128, 64))


def random_map(channels: int, height: int, width: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, height, width, generator=generator, dtype=dtype)


def fused_block(block: nn.Module) -> nn.Module:
    """In float64: what is equal there up to 1e-9 is equal by its formula, not by luck."""
    stir(block)
    return fuse(nn.Sequential(block.double()))[0]


@torch.no_grad()
def assert_same(changed: nn.Module, block: nn.Module, x: torch.Tensor) -> None:
    torch.testing.assert_close(changed(x), block(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RELEASES)
def test_rewritten_equals_plain(name: str) -> None:
    plain = build_detector(name, classes=2, seed=1).eval()
    images = [torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2)) for size in SIZES]
    rewritten = rewrite(plain)
    left = {type(module) for module in rewritten.modules()}
    assert not left & {Focus, SPP, C3, BottleneckCSP, Branches}
    with torch.no_grad():
        for batch in images:
            deviations = [(a - b).abs().max() for a, b in zip(rewritten(batch), plain(batch), strict=True)]
            assert max(deviations) < 1e-5  # the bound the rewrites are made for; the network as initialised


@pytest.mark.parametrize("name", RELEASES)
def test_rewritten_equals_plain_by_its_formula(name: str) -> None:
    plain = build_detector(name, classes=1, seed=1)
    stir(plain)
    plain.eval().double()
    rewritten = rewrite(plain)
    x = torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        for actual, expected in zip(rewritten(x), plain(x), strict=True):
            # 60 layers of float64, and weights that grow the signal on the way
            torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_the_published_size_640x384() -> None:
    plain = build_detector("tiny", classes=2).eval()
    x = torch.rand(1, 3, 640, 384, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for actual, expected in zip(rewrite(plain)(x), plain(x), strict=True):
            torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_the_detector_given_is_not_touched() -> None:
    plain = build_detector("yolov5n@v6.0", classes=1).train()
    before = copy.deepcopy(plain.state_dict())
    kinds = [type(module) for module in plain.modules()]
    rewritten = rewrite(plain)
    assert plain.training
    assert not rewritten.training
    assert [type(module) for module in plain.modules()] == kinds
    assert all(torch.equal(value, before[key]) for key, value in plain.state_dict().items())
    assert not any(parameter.requires_grad for parameter in rewritten.parameters())


def test_layers_can_still_be_tapped() -> None:
    plain = build_detector("tiny", classes=1).eval()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = plain.features(x, [2, "neck.p4"])
        actual = rewrite(plain).features(x, [2, "neck.p4"])
    for key, value in expected.items():
        torch.testing.assert_close(actual[key], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "channels", "size"), [(3, 3, (8, 12)), (1, 3, (6, 4)), (5, 1, (10, 8)), (3, 4, (2, 2))]
)
def test_focus_is_one_convolution(kernel: int, channels: int, size: tuple[int, int]) -> None:
    block = fused_block(Focus(channels, 5, SILU, kernel=kernel))
    changed = focus_as_convolution(block)
    assert isinstance(changed[0], nn.Conv2d)
    assert changed[0].kernel_size == (2 * kernel, 2 * kernel)
    assert_same(changed, block, random_map(channels, *size))


@pytest.mark.parametrize("style", [SILU, LEAKY], ids=["two activations", "one activation"])
@pytest.mark.parametrize(("repeats", "shortcut"), [(1, True), (2, False)])
def test_joint_normalisation_goes_into_the_branches(style: Style, repeats: int, shortcut: bool) -> None:
    block = fused_block(BottleneckCSP(6, 8, style, repeats=repeats, shortcut=shortcut))
    branches = split_joint_normalisation(block)
    merged = merge_branches(branches)
    assert isinstance(branches, Branches)
    assert isinstance(merged, MergedBranches)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in merged.modules())
    x = random_map(6, 5, 7)
    assert_same(branches, block, x)
    assert_same(merged, block, x)


def test_branches_of_c3_begin_with_one_convolution() -> None:
    block = fused_block(C3(6, 8, SILU, repeats=2, groups=2))
    merged = merge_branches(block)
    assert isinstance(merged, MergedBranches)
    assert_same(merged, block, random_map(6, 5, 7))


@pytest.mark.parametrize("kernels", [(5, 9, 13), (3, 5), (3, 7, 9, 15)])
def test_pools_in_a_row_see_what_large_ones_see(kernels: tuple[int, ...]) -> None:
    block = fused_block(SPP(6, 8, SILU, kernels=kernels))
    changed = cascade_pools(block)
    assert isinstance(changed, CascadedSPP)
    assert_same(changed, block, random_map(6, 7, 16))


@pytest.mark.parametrize("kernels", [(5, 5), (9, 5), (1, 3)])
def test_pools_that_do_not_grow_stay(kernels: tuple[int, ...]) -> None:
    block = fused_block(SPP(6, 8, SILU, kernels=kernels))
    assert cascade_pools(block) is block


def test_other_blocks_stay() -> None:
    for block in (SPPF(4, 4, SILU), Conv(3, 4, SILU), nn.Upsample(scale_factor=2)):
        assert all(change(block) is block for change in REWRITES)


def test_merging_needs_fused_blocks() -> None:
    with pytest.raises(TypeError, match="fused"):
        merge_branches(C3(4, 4, SILU))


@pytest.mark.parametrize("reverse", [False, True])
def test_scale_of_the_input_goes_into_the_stem(reverse: bool) -> None:
    stems = (
        Conv(3, 4, SILU, kernel=6, stride=2, padding=2),
        Focus(3, 4, SILU, kernel=3),
        nn.Sequential(Conv(3, 4, SILU, kernel=3), Conv(4, 4, SILU)),
    )
    for stem in stems:
        block = fused_block(stem)
        x = random_map(3, 8, 12)
        changed = scale_input(block, 0.25, reverse_channels=reverse)
        assert changed is not None
        with torch.no_grad():
            expected = block(0.25 * (x.flip(1) if reverse else x))
            torch.testing.assert_close(changed(x), expected, rtol=1e-12, atol=1e-12)


def test_a_stem_without_a_first_convolution_keeps_its_scale() -> None:
    assert scale_input(fused_block(C3(3, 4, SILU)), 0.5) is None
    grouped = fused_block(Conv(4, 4, SILU, kernel=3, groups=2))
    assert scale_input(grouped, 0.5) is not None
    assert scale_input(grouped, 0.5, reverse_channels=True) is None


def test_paired_columns() -> None:
    x = torch.arange(2 * 3 * 1 * 4.0).reshape(2, 3, 1, 4)
    paired = PairColumns()(x)
    assert paired.shape == (2, 6, 1, 2)
    assert torch.equal(paired[:, :3], x[..., 0::2])
    assert torch.equal(paired[:, 3:], x[..., 1::2])
    frames = torch.zeros(1, 4, 8, 3).permute(0, 3, 1, 2)
    assert PairColumns()(frames).data_ptr() == frames.data_ptr()  # nothing is moved


@pytest.mark.parametrize("size", [(8, 12), (2, 2), (6, 34)])
def test_a_stem_on_paired_columns(size: tuple[int, int]) -> None:
    stem = fused_block(Conv(3, 4, SILU, kernel=6, stride=2, padding=2))
    changed = pair_columns(stem)
    assert changed is not stem
    assert_same(changed, stem, random_map(3, *size))
    from_focus = focus_as_convolution(fused_block(Focus(3, 4, SILU, kernel=3)))
    assert_same(pair_columns(from_focus), from_focus, random_map(3, *size))


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (3, 1), (6, 1)])
def test_other_stems_are_not_paired(kernel: int, stride: int) -> None:
    stem = fused_block(Conv(3, 4, SILU, kernel=kernel, stride=stride))
    assert pair_columns(stem) is stem
