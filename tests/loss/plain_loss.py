"""The loss as one writes it first: lists, a loop over levels, sequential writes. The twin of the dense one."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch.nn import functional

from vedette.core.iou import paired_iou


def golden_sequence(key: str, count: int) -> np.ndarray:
    """u(key, n) of tests/golden/spec/README.md: float64 in [-1, 1)."""
    mask = np.uint64(0xFFFFFFFF)
    x = (
        np.arange(count, dtype=np.uint64) * np.uint64(2654435761) + np.uint64(zlib.crc32(key.encode()))
    ) & mask
    x ^= x >> np.uint64(15)
    x = (x * np.uint64(0x2C1B3C6D)) & mask
    x ^= x >> np.uint64(12)
    x = (x * np.uint64(0x297A2D39)) & mask
    x ^= x >> np.uint64(15)
    return x / 2.0**31 - 1


def golden_levels(
    batch: int, size_hw: tuple[int, int], strides: list[int], classes: int
) -> list[torch.Tensor]:
    """The predictions that the golden losses were computed from."""
    levels = []
    for number, stride in enumerate(strides):
        shape = (batch, 3, size_hw[0] // stride, size_hw[1] // stride, 5 + classes)
        values = 2 * golden_sequence(f"pred{number}", int(np.prod(shape)))
        levels.append(torch.from_numpy(values.astype(np.float32)).reshape(shape).requires_grad_())
    return levels


def plain_assignment(targets, anchors, size_hw, threshold):
    """Lists of one level in the specification's order, target by target."""
    height, width = size_hw
    size_wh = torch.tensor([width, height], dtype=torch.float32)
    kept = []
    for anchor_id, anchor in enumerate(anchors):
        for number, row in enumerate(targets):
            if row[0] < 0:
                continue
            sides = row[4:6] * size_wh
            ratio = sides / anchor
            if float(torch.maximum(ratio, 1 / ratio).max()) < threshold:
                kept.append((int(row[0]), anchor_id, int(row[1]), row[2:4] * size_wh, sides, number))
    conditions = [
        lambda c: True,
        lambda c: bool(c[0] % 1 < 0.5 and c[0] > 1),
        lambda c: bool(c[1] % 1 < 0.5 and c[1] > 1),
        lambda c: bool((width - c[0]) % 1 < 0.5 and (width - c[0]) > 1),
        lambda c: bool((height - c[1]) % 1 < 0.5 and (height - c[1]) > 1),
    ]
    shifts = [(0, 0), (0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)]
    found = []
    for holds, shift in zip(conditions, shifts, strict=True):
        for image, anchor_id, class_id, centre, sides, number in kept:
            if holds(centre):
                column = min(max(int(centre[0] - shift[0]), 0), width - 1)
                row = min(max(int(centre[1] - shift[1]), 0), height - 1)
                box = (float(centre[0] - column), float(centre[1] - row), float(sides[0]), float(sides[1]))
                found.append((image, anchor_id, row, column, class_id, box, number))
    return found


def plain_silent_cells(ignored, batch, anchors, size_hw):
    """Cells of one level, [B, A, h, w], whose centre lies in an ignored box: one cell, one box at a time."""
    height, width = size_hw
    silent = torch.zeros(batch, anchors, height, width, dtype=torch.bool)
    for image, _, cx, cy, box_width, box_height in ignored.tolist():
        for row in range(height):
            for column in range(width):
                across = abs((column + 0.5) / width - cx) <= box_width / 2
                down = abs((row + 0.5) / height - cy) <= box_height / 2
                if image >= 0 and across and down:
                    silent[int(image), :, row, column] = True
    return silent


def plain_loss(
    levels, targets, anchors, hyperparameters, level_weights, classes, *, ignored=None, labelled=None
):
    """Loss and items of v4.0 with plain binary cross-entropy."""
    box_loss = object_loss = class_loss = torch.zeros(())
    for level, level_anchors, weight in zip(levels, anchors, level_weights, strict=True):
        found = plain_assignment(targets, level_anchors, tuple(level.shape[2:4]), hyperparameters.anchor_t)
        object_targets = torch.zeros(level.shape[:4])
        answering = torch.zeros(level.shape[:4], dtype=torch.bool)
        if found:
            image, anchor, row, column, class_ids = (
                torch.tensor([entry[field] for entry in found]) for field in range(5)
            )
            answer = level[image, anchor, row, column]
            centres = answer[:, :2].sigmoid() * 2 - 0.5
            sides = (answer[:, 2:4].sigmoid() * 2) ** 2 * level_anchors[anchor]
            true = torch.tensor([entry[5] for entry in found])
            overlap = paired_iou(torch.cat((centres, sides), 1), true, "ciou", 1e-7)
            box_loss = box_loss + (1 - overlap).mean()
            for position in range(len(found)):
                place = (image[position], anchor[position], row[position], column[position])
                object_targets[place] = overlap[position].detach().clamp(min=0)
                answering[place] = True
            if classes > 1:
                class_targets = functional.one_hot(class_ids, classes).float()
                terms = functional.binary_cross_entropy_with_logits(
                    answer[:, 5:], class_targets, reduction="none"
                )
                if labelled is not None:
                    terms = terms * labelled[[entry[6] for entry in found]]
                class_loss = class_loss + terms.mean()
        terms = functional.binary_cross_entropy_with_logits(level[..., 4], object_targets, reduction="none")
        if ignored is not None:
            silent = plain_silent_cells(ignored, level.shape[0], level.shape[1], tuple(level.shape[2:4]))
            terms = terms * (answering | ~silent)
        object_loss = object_loss + weight * terms.mean()
    scale = 3 / len(levels)
    items = torch.stack(
        (
            box_loss * hyperparameters.box * scale,
            object_loss * hyperparameters.obj,
            class_loss * hyperparameters.cls * scale,
        )
    )
    return items.sum() * levels[0].shape[0], items.detach()
