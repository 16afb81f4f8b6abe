"""Reading from the raw levels what the loss needs, with a backward pass that writes each gradient once.

Indexing twice, for the answering rows and for all objectness logits, would give autograd two tensors of the size
of each level to fill and add up; for a small model on a CPU that is most of the time of the loss.
:func:`read_answers_plainly` is that version, and the tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

OBJECTNESS = 4
"""Column of the objectness logit."""


Places = tuple[Tensor, Tensor, Tensor, Tensor]
"""Image, anchor, row and column: int64 [L, N] each."""


def read_answers(levels: Sequence[Tensor], places: Places) -> tuple[Tensor, Tensor]:
    """The rows of the answering cells, and the objectness logits of all cells.

    Args:
        levels: L tensors [B, A, h, w, 5 + C] of one dtype and any memory layout; none is copied.
        places: which cells of each level answer.

    Returns:
        The rows [L, N, 5 + C] and the objectness logits [sum of B·A·h·w over levels], both float32.
    """
    rows, logits = _ReadAnswers.apply(*places, *levels)  # type: ignore[no-untyped-call]
    return rows, logits


def read_answers_plainly(levels: Sequence[Tensor], places: Places) -> tuple[Tensor, Tensor]:
    """The same by indexing: the twin of :func:`read_answers`."""
    rows = [level[places_of(places, number)] for number, level in enumerate(levels)]
    logits = [level[..., OBJECTNESS].flatten() for level in levels]
    return torch.stack(rows).float(), torch.cat(logits).float()


def places_of(places: Places, level: int) -> tuple[Tensor, ...]:
    """The places of one level, as an index into it."""
    return tuple(place[level] for place in places)


def add_rows(level: Tensor, places: tuple[Tensor, ...], rows: Tensor) -> None:
    """Add rows [N, 5 + C] to the places of a level, in place; several to one place in a fixed order.

    Args:
        level: [B, A, h, w, 5 + C], dense, in any layout.
        places: image, anchor, row and column, int64 [N] each.
        rows: of the level's dtype.
    """
    if level.device.type != "cpu":
        level.index_put_(places, rows, accumulate=True)  # sorts on a GPU, unlike index_add
        return
    # On a CPU index_put adds with several threads in any order; scatter_add along one dimension does not.
    pairs = zip(places, level.stride(), strict=False)
    starts = torch.stack([place * stride for place, stride in pairs]).sum(0)
    columns = torch.arange(level.shape[4]) * level.stride(4)
    memory = level.as_strided((level.numel(),), (1,))
    memory.scatter_add_(0, (starts[:, None] + columns).flatten(), rows.flatten())


class _ReadAnswers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *places_and_levels: Tensor) -> tuple[Tensor, Tensor]:
        image, anchor, row, column, *levels = places_and_levels
        ctx.save_for_backward(image, anchor, row, column)
        # The gradient gets the layout of the level, so the convolution before it need not rearrange it.
        ctx.layouts = [(level.shape, torch.empty_like(level, device="meta").stride()) for level in levels]
        ctx.dtype = levels[0].dtype
        return read_answers_plainly(levels, (image, anchor, row, column))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, rows_gradient: Tensor, logits_gradient: Tensor) -> tuple[Tensor | None, ...]:
        gradients = []
        start = 0
        for level, (shape, stride) in enumerate(ctx.layouts):
            count = shape[:4].numel()
            gradient = torch.empty_strided(
                shape, stride, dtype=ctx.dtype, device=rows_gradient.device
            ).zero_()
            gradient[..., OBJECTNESS] = logits_gradient[start : start + count].view(shape[:4])
            add_rows(gradient, places_of(ctx.saved_tensors, level), rows_gradient[level].to(ctx.dtype))
            gradients.append(gradient)
            start += count
        return None, None, None, None, *gradients
