"""Boxes: two corners or centre and size, clipping, area.

Functions return new arrays and never write into their arguments. They accept torch tensors and numpy arrays, and
import torch for tensors only, so that detection with other runtimes does without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import SizeHW

if TYPE_CHECKING:
    import torch

BoxesT = TypeVar("BoxesT", "torch.Tensor", NDArray[Any])


def _join(first: BoxesT, last: BoxesT) -> BoxesT:
    if isinstance(first, np.ndarray):
        joined: NDArray[Any] = np.concatenate((first, last), axis=-1)
        return joined
    import torch

    return torch.cat((first, last), dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: BoxesT) -> BoxesT:
    """Corners (x1, y1, x2, y2) to centre and size (cx, cy, w, h): [..., 4] to [..., 4], any unit."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return _join((low + high) / 2, high - low)


def cxcywh_to_xyxy(boxes_cxcywh: BoxesT) -> BoxesT:
    """Centre and size (cx, cy, w, h) to corners (x1, y1, x2, y2): [..., 4] to [..., 4], any unit."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return _join(centre - half, centre + half)


def clip_boxes(boxes_xyxy: BoxesT, size_hw: SizeHW) -> BoxesT:
    """Corners moved into 0..width and 0..height: [..., 4] to [..., 4]. A box outside becomes empty."""
    height, width = size_hw
    if isinstance(boxes_xyxy, np.ndarray):
        clipped: NDArray[Any] = boxes_xyxy.copy()
        clipped[..., 0::2] = clipped[..., 0::2].clip(0, width)
        clipped[..., 1::2] = clipped[..., 1::2].clip(0, height)
        return clipped
    import torch

    x = boxes_xyxy[..., 0::2].clamp(0, width)
    y = boxes_xyxy[..., 1::2].clamp(0, height)
    return torch.stack((x[..., 0], y[..., 0], x[..., 1], y[..., 1]), dim=-1)


def box_area(boxes_xyxy: BoxesT) -> BoxesT:
    """Width times height: [..., 4] to [...]. Negative where exactly one pair of corners is swapped."""
    width = boxes_xyxy[..., 2] - boxes_xyxy[..., 0]
    height = boxes_xyxy[..., 3] - boxes_xyxy[..., 1]
    area: BoxesT = width * height
    return area
