from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.model.filling import read_golden
from vedette.model.anchors import DEFAULT_ANCHORS_P5, Anchors, placeholder_anchors
from vedette.model.head import Detect, bias_offsets, published_bias_offsets


def make_head(
    anchors: Anchors = DEFAULT_ANCHORS_P5,
    strides: tuple[int, ...] = (8, 16, 32),
    *,
    classes: int = 2,
    anchor_grid: bool = True,
) -> Detect:
    return Detect(classes, anchors, strides, (), anchor_grid=anchor_grid)


def golden_logits() -> list[torch.Tensor]:
    golden = read_golden("decode.json")
    return [
        torch.tensor(values, dtype=torch.float32).reshape(1, 21, height, width)
        for values, (height, width) in zip(golden["logits"], golden["hw"], strict=True)
    ]


def test_raw_levels_and_decode() -> None:
    """golden decode.json; 1e-4 px for boxes up to 1500 px is a few units in the last place of float32."""
    golden = read_golden("decode.json")
    levels = make_head()(golden_logits())
    assert [list(level.shape) for level in levels] == golden["raw_shapes"]
    for level, expected in zip(levels, golden["raw"], strict=True):
        np.testing.assert_allclose(level.reshape(-1), expected, rtol=1e-6)
    decoded = make_head().decode(levels)
    assert list(decoded.shape) == golden["decoded_shape"]
    np.testing.assert_allclose(decoded.reshape(-1), golden["decoded"], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_decode_is_float32_whatever_the_levels_are(dtype: torch.dtype) -> None:
    levels = make_head()([logits.to(dtype) for logits in golden_logits()])
    decoded = make_head().to(dtype).decode(levels)
    assert decoded.dtype == torch.float32
    expected = make_head().decode([level.float() for level in levels])
    assert torch.equal(decoded, expected)


def test_decode_of_large_maps_keeps_fractions_in_half_precision() -> None:
    """Half precision storage would round coordinates above 512 px to half a pixel."""
    head = make_head(classes=1).half()
    levels = [torch.full((1, 3, 1280 // s, 1280 // s, 6), 0.3, dtype=torch.float16) for s in (8, 16, 32)]
    x = head.decode(levels)[0, 159, 0].item()
    value = 1 / (1 + math.exp(-levels[0][0, 0, 0, 0, 0].item()))
    assert x == pytest.approx((2 * value - 0.5 + 159) * 8, abs=1e-3)


def test_decode_reaches_no_further_than_the_formula() -> None:
    head = make_head()
    levels = [torch.randn(1, 3, 64 // s, 64 // s, 7) * 100 for s in (8, 16, 32)]
    decoded = head.decode(levels)
    assert decoded[..., :2].min() >= -0.5 * 32
    assert (decoded[..., 2:4] >= 0).all()
    assert (decoded[..., 2:4] <= 4.0 * torch.tensor([373.0, 326.0])).all()
    assert ((decoded[..., 4:] >= 0) & (decoded[..., 4:] <= 1)).all()


def test_decode_is_differentiable() -> None:
    levels = [torch.randn(1, 3, 1, 1, 7, requires_grad=True) for _ in range(3)]
    make_head().decode(levels).sum().backward()
    assert all(level.grad is not None and level.grad.isfinite().all() for level in levels)


def test_buffers_are_cells_and_pixels() -> None:
    head = make_head()
    assert head.anchors.shape == (3, 3, 2)
    assert head.anchors[1, 0].tolist() == [30 / 16, 61 / 16]
    assert head.anchors_px().tolist() == [[list(pair) for pair in level] for level in DEFAULT_ANCHORS_P5]
    assert head.get_buffer("anchor_grid").shape == (3, 1, 3, 1, 1, 2)
    assert head.get_buffer("anchor_grid")[2, 0, 2, 0, 0].tolist() == [373, 326]
    assert set(make_head(anchor_grid=False).state_dict()) == {"anchors"}


@pytest.mark.parametrize("anchors", [DEFAULT_ANCHORS_P5, DEFAULT_ANCHORS_P5[::-1]])
@pytest.mark.parametrize("strides", [(8, 16, 32), (32, 16, 8)])
def test_anchors_follow_the_strides(anchors: Anchors, strides: tuple[int, ...]) -> None:
    head = make_head(anchors, strides)
    by_stride = dict(zip(strides, head.anchors_px().tolist(), strict=True))
    assert by_stride[8][0] == [10, 13]
    assert by_stride[32][2] == [373, 326]


def test_placeholder_anchors_stay_as_they_are() -> None:
    head = make_head(placeholder_anchors(3, 3))
    assert head.anchors_px().tolist() == [[[0, 1], [2, 3], [4, 5]]] * 3


def test_anchors_stay_float32() -> None:
    head = make_head().bfloat16()
    assert head.anchors.dtype == torch.float32
    assert head.anchors_px()[2, 2].tolist() == [373, 326]
    assert make_head().to("meta").anchors.device.type == "meta"


def test_published_bias_offsets() -> None:
    """golden bias_init.json; its 9 digits."""
    golden = read_golden("bias_init.json")
    for case in golden["cases"]:
        offsets = [published_bias_offsets(stride, case["nc"]) for stride in case["stride"]]
        assert [objectness for objectness, _ in offsets] == pytest.approx(case["obj_offset"], rel=1e-7)
        assert [classes[0] for _, classes in offsets] == pytest.approx(case["cls_offset"], rel=1e-7)
        assert all(len(classes) == case["nc"] and len(set(classes)) == 1 for _, classes in offsets)
    case = golden["class_frequency_case"]
    _, classes = published_bias_offsets(8, len(case["cf"]), class_frequencies=case["cf"])
    assert classes == pytest.approx(case["cls_offset"], rel=1e-7)


@pytest.mark.parametrize("prior_offset", [0.99, 0.99999])
def test_bias_offsets_differ_from_the_published_ones_for_one_class_only(prior_offset: float) -> None:
    for classes in (2, 3, 80):
        assert bias_offsets(16, classes, class_prior_offset=prior_offset) == published_bias_offsets(
            16, classes, class_prior_offset=prior_offset
        )
    objectness, (offset,) = bias_offsets(16, 1, class_prior_offset=prior_offset)
    assert objectness == published_bias_offsets(16, 1)[0]
    assert 1 / (1 + math.exp(-offset)) == pytest.approx(0.9999)  # a probability, and nearly certain
