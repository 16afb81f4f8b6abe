"""Which cell and which anchor answers for which box (specification loss.md section 1).

Every candidate, that is every (level, copy, anchor, target), is computed and a mask says which ones hold. So no
shape depends on the data and the host never waits for the device: the step can be compiled and captured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

COPIES = 5
"""A box answers in its own cell and in up to four neighbours: centre, left, up, right, down."""

# What each copy subtracts from the centre before it is rounded down to a cell, (x, y) in cells.
_COPY_OFFSETS = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (-0.5, 0.0), (0.0, -0.5))


class Grid(NamedTuple):
    """Constants of an assignment, on the device; L levels of A anchors.

    Attributes:
        anchors: float32 [L, A, 2], width and height in cells of the level.
        size_wh: float32 [L, 2], cells across and down.
        copy_offsets: float32 [5, 2].
    """

    anchors: Tensor
    size_wh: Tensor
    copy_offsets: Tensor


class Assignment(NamedTuple):
    """All candidates of a batch, in the specification's order: by copy, then anchor, then target; N = 5·A·M.

    The tensors with a last dimension are views of memory that has this dimension first.

    Attributes:
        valid: bool [L, N]; the other fields mean something only where it is True (and are safe indices elsewhere).
        image: int64 [L, N], image in the batch.
        anchor: int64 [L, N].
        row: int64 [L, N], cell from the top.
        column: int64 [L, N], cell from the left.
        class_ids: int64 [L, N].
        boxes_cxcywh_cells: float32 [L, N, 4]; the centre is relative to the corner of the answering cell and lies
            in -0.5..1.5, beyond it only for a centre off the frame.
        anchors_wh_cells: float32 [L, N, 2].
    """

    valid: Tensor
    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    class_ids: Tensor
    boxes_cxcywh_cells: Tensor
    anchors_wh_cells: Tensor


def make_grid(anchors: Tensor, sizes_hw: Sequence[tuple[int, int]]) -> Grid:
    """The constants for levels of the given sizes (in cells).

    Args:
        anchors: float [L, A, 2] in cells of each level.
        sizes_hw: height and width of each of the L levels, in cells.
    """
    device = anchors.device
    size_wh = torch.tensor(
        [(width, height) for height, width in sizes_hw], dtype=torch.float32, device=device
    )
    return Grid(anchors.float(), size_wh, torch.tensor(_COPY_OFFSETS, dtype=torch.float32, device=device))


def assign_targets(
    targets: Tensor, grid: Grid, *, ratio_threshold: float, mirrored_neighbours: bool = True
) -> Assignment:
    """Find the candidates for every target; a target may be answered by several levels, anchors and cells.

    Args:
        targets: float32 [M, 6], rows (image in batch, class, cx, cy, w, h), the box in 0..1 of the frame. A row
            with a negative image is padding. A box without area matches no anchor.
        grid: see :func:`make_grid`.
        ratio_threshold: a box and an anchor match if neither side is this many times larger or smaller.
        mirrored_neighbours: see :class:`vedette.loss.rules.LossRules`.
    """
    levels, anchors = grid.anchors.shape[:2]
    count = targets.shape[0]
    # Coordinates come first in memory, [2, L, ..., M]: arithmetic on one of them runs over consecutive numbers.
    size_wh = grid.size_wh.T[:, :, None]  # [2, L, 1]
    anchors_wh = grid.anchors.permute(2, 0, 1)[..., None]  # [2, L, A, 1]
    centres = targets[:, 2:4].T[:, None] * size_wh  # [2, L, M]
    sides = targets[:, 4:6].T[:, None] * size_wh

    ratios = sides[:, :, None] / anchors_wh  # [2, L, A, M]
    worst = torch.maximum(ratios, 1 / ratios).amax(dim=0)  # infinite for a side of 0
    matched = (worst < ratio_threshold) & (targets[:, 0] >= 0)

    holds = _neighbours(centres, size_wh, mirrored_neighbours)  # [L, 5, M]
    offsets = grid.copy_offsets.T[:, None, :, None]  # [2, 1, 5, 1]
    cells = (centres[:, :, None] - offsets).long()  # [2, L, 5, M], rounded towards zero
    cells = torch.minimum(cells.clamp(min=0), size_wh[:, :, None].long() - 1)
    boxes = torch.cat((centres[:, :, None] - cells, sides[:, :, None].expand(-1, -1, COPIES, -1)))

    shape = (levels, COPIES, anchors, count)
    candidates = COPIES * anchors * count
    valid = matched[:, None] & holds[:, :, None]
    anchor_ids = torch.arange(anchors, device=targets.device)[:, None]

    def spread(values: Tensor) -> Tensor:
        """[..., L, 5, A, M] with missing repetitions to [..., L, N]."""
        return values.expand(*values.shape[:-4], *shape).reshape(*values.shape[:-4], levels, candidates)

    rows_and_columns = spread(cells[:, :, :, None])
    return Assignment(
        valid=valid.reshape(levels, candidates),
        image=spread(targets[:, 0].long().clamp(min=0)[None, None, None]),
        anchor=spread(anchor_ids[None, None]),
        row=rows_and_columns[1],
        column=rows_and_columns[0],
        class_ids=spread(targets[:, 1].long()[None, None, None]),
        boxes_cxcywh_cells=spread(boxes[:, :, :, None]).permute(1, 2, 0),
        anchors_wh_cells=spread(anchors_wh[:, :, None]).permute(1, 2, 0),
    )


def _neighbours(centres: Tensor, size_wh: Tensor, mirrored: bool) -> Tensor:
    """Which copies hold, from [2, L, M] and [2, L, 1]: bool [L, 5, M].

    All comparisons are strict, in float32 on scaled coordinates.
    """
    near_start = (centres % 1 < 0.5) & (centres > 1)  # left, up
    if mirrored:
        from_end = size_wh - centres
        near_end = (from_end % 1 < 0.5) & (from_end > 1)  # right, down
    else:
        near_end = (centres % 1 > 0.5) & (centres < size_wh - 1)
    centre = torch.ones_like(near_start[:1])
    return torch.cat((centre, near_start, near_end)).transpose(0, 1)


def pad_targets(targets: Tensor, rows: int) -> Tensor:
    """Append padding (image -1), so that targets of every batch have the same number of rows.

    Args:
        targets: [M, 6].
        rows: length of the result, at least M.
    """
    padded = functional.pad(targets, (0, 0, 0, rows - targets.shape[0]))
    padded[targets.shape[0] :, 0] = -1
    return padded
