"""Sizes of batches: the published set of them, fixed by seed and iteration, and targets that stay on their pixels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from vedette.train.multi_scale import MultiScale

CASE = next(case for case in read_golden("training/24-training-misc.json")["cases"] if case["id"] == "T24.7")


def test_published_sizes_golden() -> None:
    """Golden 24-training-misc.json, case T24.7: exactly these sizes are drawn, and square frames become them."""
    side, stride = CASE["input"]["imgsz"], CASE["input"]["stride"]
    scale = MultiScale(0, side, stride)
    drawn = [scale.drawn_side(iteration) for iteration in range(200)]
    assert sorted(set(drawn)) == CASE["expected"]["drawn"]
    assert [scale.size_of((side, side), iteration) for iteration in range(200)] == [
        (one, one) for one in drawn
    ]


@settings(deadline=None, max_examples=200)
@given(
    strides=st.integers(1, 40),
    stride=st.sampled_from([8, 32, 64]),
    height=st.integers(1, 80),
    width=st.integers(1, 80),
    iteration=st.integers(0, 10_000),
)
def test_sizes_follow_the_published_rule(
    strides: int, stride: int, height: int, width: int, iteration: int
) -> None:
    scale = MultiScale(3, strides * stride, stride)
    drawn = scale.drawn_side(iteration)
    assert drawn % stride == 0
    least, most = max(2, strides // 2), max(2, math.ceil(1.5 * strides))
    assert least * stride <= drawn <= most * stride
    frame_hw = (height * stride, width * stride)
    size_hw = scale.size_of(frame_hw, iteration)
    assert max(size_hw) == drawn
    for before, after in zip(frame_hw, size_hw, strict=True):
        assert after % stride == 0
        assert 0 <= after - before * drawn / max(frame_hw) < stride


def test_seed_and_iteration_decide() -> None:
    def draws(seed: int) -> list[int]:
        return [MultiScale(seed, 640, 32).drawn_side(iteration) for iteration in range(50)]

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)
    assert len(set(draws(0))) > 10


def test_images_are_scaled_bilinearly() -> None:
    """A ramp stays a ramp: its value at a place of 0..1 of the frame does not change, but for the edges."""
    scale = MultiScale(0, 64, 8)
    ramp = (torch.arange(64) + 0.5).div(64).expand(2, 3, 32, 64).contiguous(memory_format=torch.channels_last)
    seen = set()
    for iteration in range(20):
        scaled = scale.scaled(ramp, iteration)
        height, width = scale.size_of((32, 64), iteration)
        assert scaled.shape == (2, 3, height, width)
        expected = (torch.arange(width) + 0.5).div(width)
        torch.testing.assert_close(scaled[1, 2, 0, 2:-2], expected[2:-2], atol=1e-5, rtol=0)
        seen.add(width)
    assert min(seen) < 64 < max(seen)


@pytest.mark.parametrize("count", [0, 2])
def test_nothing_to_do_changes_nothing(count: int) -> None:
    scale = MultiScale(0, 64, 32)
    same = next(iteration for iteration in range(100) if scale.drawn_side(iteration) == 64)
    images = torch.rand(count, 3, 64, 64)
    assert scale.scaled(images, same) is images
    assert scale.scaled(images[:0], same + 1).shape[0] == 0
