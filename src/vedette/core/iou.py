"""Intersection over union of tensors: of all pairs for evaluation, of paired boxes with its family for the loss."""

from __future__ import annotations

import math
from typing import Literal

import torch

IouKind = Literal["iou", "giou", "diou", "ciou"]

LARGEST_COORDINATE = 1e9
"""Squares of sums of such numbers still fit in float32; larger ones count as this in the loss."""


def pairwise_iou(a_xyxy: torch.Tensor, b_xyxy: torch.Tensor) -> torch.Tensor:
    """Intersection over union of every pair, as evaluation and suppression use it.

    Plain inter / (area a + area b - inter) without an epsilon (evaluation.md); 0 where that is not a number.
    Works in place on its own intermediate results: not for differentiation, see :func:`paired_iou`.

    Args:
        a_xyxy: [N, 4] corners; float16 and bfloat16 are computed in float32.
        b_xyxy: [M, 4] corners in the same unit and on the same device.

    Returns:
        [N, M], 0..1; either side may be empty.
    """
    # Contiguous coordinates: broadcasting a strided column costs four times as much.
    a_x1, a_y1, a_x2, a_y2 = _at_least_float32(a_xyxy).t().contiguous().unsqueeze(2).unbind()  # each [N, 1]
    b_x1, b_y1, b_x2, b_y2 = _at_least_float32(b_xyxy).t().contiguous().unsqueeze(1).unbind()  # each [1, M]
    width = torch.minimum(a_x2, b_x2).sub_(torch.maximum(a_x1, b_x1)).clamp_(min=0)  # [N, M]
    height = torch.minimum(a_y2, b_y2).sub_(torch.maximum(a_y1, b_y1)).clamp_(min=0)
    inter = width.mul_(height)
    area_a, area_b = (a_x2 - a_x1) * (a_y2 - a_y1), (b_x2 - b_x1) * (b_y2 - b_y1)
    # 0 / 0 for two empty boxes; inf / inf where areas overflow.
    return inter.div_((area_a + area_b).sub_(inter)).nan_to_num_(nan=0.0)


def paired_iou(
    a_cxcywh: torch.Tensor,
    b_cxcywh: torch.Tensor,
    kind: IouKind = "iou",
    eps: float = 1e-7,
) -> torch.Tensor:
    """IoU, GIoU, DIoU or CIoU of box i with box i, for the loss (loss.md, section 4).

    Differentiable, without host synchronisation. Where the arguments of a minimum or maximum are equal each
    gets half of the gradient, touching boxes still pull at each other, and the weight of CIoU's aspect term is
    a constant in the backward pass. Finite for finite boxes, equal and empty ones included: the published
    eps of 1e-9 vanishes in float32 and gives 0 / 0 for a perfect prediction.

    Args:
        a_cxcywh: [N, 4] centre and size; float16 and bfloat16 are computed in float32. Coordinates beyond
            1e9 count as 1e9, negative sizes as 0.
        b_cxcywh: [N, 4] in the same unit.
        kind: which measure.
        eps: added to the union, to the enclosing area or diagonal, and to the heights of the aspect term.

    Returns:
        [N]: 0..1 for "iou", -1..1 for "giou" and "diou", "ciou" may be lower.
    """
    a_x1, a_y1, a_x2, a_y2 = _loss_corners(a_cxcywh)
    b_x1, b_y1, b_x2, b_y2 = _loss_corners(b_cxcywh)
    a_w, a_h, b_w, b_h = a_x2 - a_x1, a_y2 - a_y1, b_x2 - b_x1, b_y2 - b_y1
    overlap_w = (torch.minimum(a_x2, b_x2) - torch.maximum(a_x1, b_x1)).clamp(min=0)
    overlap_h = (torch.minimum(a_y2, b_y2) - torch.maximum(a_y1, b_y1)).clamp(min=0)
    inter = overlap_w * overlap_h
    union = a_w * a_h + b_w * b_h - inter + eps
    iou = inter / union
    if kind == "iou":
        return iou
    hull_w = torch.maximum(a_x2, b_x2) - torch.minimum(a_x1, b_x1)
    hull_h = torch.maximum(a_y2, b_y2) - torch.minimum(a_y1, b_y1)
    if kind == "giou":
        hull = hull_w * hull_h + eps
        return iou - (hull - union) / hull
    diagonal = hull_w.square() + hull_h.square() + eps
    distance = ((b_x1 + b_x2 - a_x1 - a_x2).square() + (b_y1 + b_y2 - a_y1 - a_y2).square()) / 4
    diou = iou - distance / diagonal
    if kind == "diou":
        return diou
    aspect = (4 / math.pi**2) * (torch.atan(b_w / (b_h + eps)) - torch.atan(a_w / (a_h + eps))).square()
    with torch.no_grad():
        # Rounding can lift the IoU to 1 and beyond; the clamp keeps the denominator at eps or more.
        weight = aspect / ((1 - iou).clamp(min=0) + aspect + eps)
    return diou - weight * aspect


def _at_least_float32(boxes: torch.Tensor) -> torch.Tensor:
    return boxes if boxes.dtype == torch.float64 else boxes.float()


def _loss_corners(boxes_cxcywh: torch.Tensor) -> tuple[torch.Tensor, ...]:
    boxes_cxcywh = _at_least_float32(boxes_cxcywh)
    centre = boxes_cxcywh[..., :2].clamp(-LARGEST_COORDINATE, LARGEST_COORDINATE)
    half = boxes_cxcywh[..., 2:].clamp(0, LARGEST_COORDINATE) / 2
    return (*(centre - half).unbind(dim=-1), *(centre + half).unbind(dim=-1))
