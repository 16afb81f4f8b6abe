"""Where the objectness loss is silent: cells inside boxes that are neither target nor background.

A cell is silent if its centre lies in an ignored box of its picture (crowd, difficult, "don't care") and it does not
answer for a true box. Nothing is learned from it: its gradient is exactly zero. Evaluation leaves the same boxes out.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def silent_cells(ignored: Tensor, batch: int, anchors: int, sizes_hw: Sequence[tuple[int, int]]) -> Tensor:
    """Which cells lie inside an ignored box.

    Args:
        ignored: float32 [K, 6], (image in batch, class, cx, cy, w, h), the box in 0..1 of the frame; rows with a
            negative image are padding.
        batch: B, pictures of the batch.
        anchors: A.
        sizes_hw: rows and columns of every level.

    Returns:
        bool [sum of B·A·h·w over levels], in the order of the objectness logits of :mod:`vedette.loss.answers`.
    """
    image, centres, sides = ignored[:, 0].long(), ignored[:, 2:4], ignored[:, 4:6]
    low, high = centres - sides / 2, centres + sides / 2
    counts = (image >= 0)[:, None]
    parts = []
    for height, width in sizes_hw:
        x = (torch.arange(width, device=ignored.device) + 0.5) / width
        y = (torch.arange(height, device=ignored.device) + 0.5) / height
        across = (x >= low[:, :1]) & (x <= high[:, :1]) & counts  # [K, w]
        down = (y >= low[:, 1:]) & (y <= high[:, 1:])  # [K, h]
        inside = (down[:, :, None] & across[:, None]).float()  # [K, h, w]
        # How many boxes cover a cell, in whole numbers: the order of addition does not matter.
        covered = inside.new_zeros(batch, height, width).index_add_(0, image.clamp(min=0), inside) > 0
        parts.append(covered[:, None].expand(-1, anchors, -1, -1).flatten())
    return torch.cat(parts)
