"""Intersection over union: golden iou.json, GIoU of loss_v1.0.json, and properties."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.golden import read_golden
from vedette.core.boxes import cxcywh_to_xyxy
from vedette.core.iou import paired_iou, pairwise_iou

KINDS = ("iou", "giou", "diou", "ciou")
IOU_CASES = read_golden("spec/iou.json")["cases"]

coordinate = st.floats(-1000, 1000, width=32)
side = st.floats(0, 500, width=32)
box_cxcywh = st.tuples(coordinate, coordinate, side, side)


def one(values, dtype=torch.float64):
    return torch.tensor([values], dtype=dtype)


@pytest.mark.parametrize("case", IOU_CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_paired_iou_golden(case, kind):
    """spec/iou.json, with the published eps; the 9 digits of the file."""
    value = paired_iou(one(case["box1_xywh"]), one(case["box2_xywh"]), kind, eps=1e-9)
    assert value.item() == pytest.approx(case[kind], rel=1e-8, abs=3e-9)


@pytest.mark.parametrize("case", IOU_CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_paired_iou_golden_default_eps(case, kind):
    """spec/iou.json with the repaired eps of 1e-7; the specification promises 2e-7."""
    value = paired_iou(one(case["box1_xywh"]), one(case["box2_xywh"]), kind)
    assert value.item() == pytest.approx(case[kind], abs=2e-7)


@pytest.mark.parametrize("case", IOU_CASES)
def test_ciou_gradient_golden(case):
    """spec/iou.json ``dciou_dbox1``, kinks and the empty box included; the 9 digits of the file."""
    box = one(case["box1_xywh"]).requires_grad_()
    paired_iou(box, one(case["box2_xywh"]), "ciou", eps=1e-9).sum().backward()
    assert box.grad[0].tolist() == pytest.approx(case["dciou_dbox1"], rel=1e-7, abs=3e-9)


@pytest.mark.parametrize("case", IOU_CASES[1:-2])
def test_ciou_gradient_golden_default_eps(case):
    """The same with eps 1e-7, without the perfect and the empty box, whose gradients are made by eps."""
    box = one(case["box1_xywh"]).requires_grad_()
    paired_iou(box, one(case["box2_xywh"]), "ciou").sum().backward()
    assert box.grad[0].tolist() == pytest.approx(case["dciou_dbox1"], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("case", IOU_CASES)
def test_ciou_float32(case):
    """spec/iou.json ``ciou_float32``; where the reference has NaN (the first case) the value is 1."""
    value = paired_iou(one(case["box1_xywh"], torch.float32), one(case["box2_xywh"], torch.float32), "ciou")
    expected = 1.0 if case["ciou_float32"] == "nan" else case["ciou_float32"]
    assert value.item() == pytest.approx(expected, abs=3e-7)


@pytest.mark.parametrize("case", read_golden("spec/loss_v1.0.json")["giou"])
def test_giou_v1_golden(case):
    """spec/loss_v1.0.json ``giou``: other eps rules (1e-16), equal to ours within 2e-7."""
    value = paired_iou(one(case["box1_xywh"]), one(case["box2_xywh"]), "giou")
    assert value.item() == pytest.approx(case["giou"], abs=2e-7)


def test_pairwise_iou_golden():
    """spec/iou.json ``box_iou``; float32 rounding."""
    case = read_golden("spec/iou.json")["box_iou"]
    a = torch.tensor(case["a_xyxy"]).view(-1, 4)
    b = torch.tensor(case["b_xyxy"]).view(-1, 4)
    iou = pairwise_iou(a, b)
    assert list(iou.shape) == case["shape"]
    assert iou.flatten().tolist() == pytest.approx(case["out"], rel=2e-7)


HOSTILE = [
    [3.0, 3.0, 2.0, 2.0],
    [3.0, 3.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 5.0],
    [7.0, -2.0, 1e-30, 1e-30],
    [1000.3, 79.7, 0.01, 0.013],
    [1e30, -1e30, 1e30, 1e30],
    [math.inf, 0.0, math.inf, 1.0],
    [1.0, 1.0, -4.0, 2.0],
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_paired_iou_is_finite(kind, dtype):
    boxes = torch.tensor(HOSTILE).to(dtype)
    a = boxes.repeat_interleave(len(boxes), 0).requires_grad_()
    b = boxes.repeat(len(boxes), 1)
    value = paired_iou(a, b, kind)
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    value.sum().backward()
    assert a.grad.float().isnan().sum() == 0
    if dtype == torch.float32:
        assert a.grad.isfinite().all()


def test_paired_iou_keeps_nan_visible():
    assert paired_iou(one([math.nan, 0, 1, 1]), one([0, 0, 1, 1]), "ciou").isnan().all()


def test_paired_iou_of_nothing():
    empty = torch.zeros(0, 4, requires_grad=True)
    value = paired_iou(empty, torch.zeros(0, 4), "ciou")
    assert value.shape == (0,)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(box_cxcywh, box_cxcywh), min_size=1, max_size=8))
def test_paired_iou_ranges_and_order(pairs):
    a = torch.tensor([pair[0] for pair in pairs], dtype=torch.float64)
    b = torch.tensor([pair[1] for pair in pairs], dtype=torch.float64)
    iou, giou, diou, ciou = (paired_iou(a, b, kind) for kind in KINDS)
    assert ((iou >= 0) & (iou <= 1)).all()
    assert ((giou >= -1) & (giou <= iou + 1e-6)).all()
    assert (diou <= iou).all()
    assert (ciou <= diou).all()
    assert torch.allclose(iou, paired_iou(b, a, "iou"))


@settings(deadline=None, max_examples=60)
@given(st.lists(box_cxcywh, max_size=6), st.lists(box_cxcywh, max_size=6))
def test_pairwise_iou_is_the_definition(first, second):
    a = cxcywh_to_xyxy(torch.tensor(first, dtype=torch.float64).view(-1, 4))
    b = cxcywh_to_xyxy(torch.tensor(second, dtype=torch.float64).view(-1, 4))
    iou = pairwise_iou(a, b)
    assert iou.shape == (len(first), len(second))
    for i, p in enumerate(a.tolist()):
        for j, q in enumerate(b.tolist()):
            width = max(min(p[2], q[2]) - max(p[0], q[0]), 0)
            height = max(min(p[3], q[3]) - max(p[1], q[1]), 0)
            union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - width * height
            assert iou[i, j].item() == pytest.approx(width * height / union if union else 0, rel=1e-9)


def test_pairwise_iou_of_odd_boxes_is_zero_not_nan():
    odd = torch.tensor([[1.0, 1, 1, 1], [1e30, 1e30, 3e30, 3e30], [math.nan, 0, 1, 1], [2, 2, 1, 1]])
    assert pairwise_iou(odd, odd).tolist() == [[0.0] * 4] * 4


def test_pairwise_iou_computes_half_in_float32():
    boxes = torch.tensor([[0.0, 0, 600, 600], [300, 300, 900, 900]])
    assert torch.equal(pairwise_iou(boxes.half(), boxes.half()), pairwise_iou(boxes, boxes))
