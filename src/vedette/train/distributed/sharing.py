"""What the ranks of a run add up at an optimizer step, in one message.

Gradients: every rank's loss is divided by the numbers of entries and pictures of the whole batch
(:class:`vedette.loss.detection_loss.DetectionLoss`), so the gradient of the whole batch is the sum over ranks.

Statistics of normalization layers: each rank's layers saw their own part of the batch. After the step all hold what
the last step left plus the mean of the ranks' changes since. A running statistic is a mean over batches, so this is
the mean over the batches of all ranks; it is linear, as is the average of the weights, and so holds for that too.
What did not change keeps its bits.
"""

from __future__ import annotations

import torch

from vedette.train.distributed.ranks import Ranks
from vedette.train.state import TrainState


def share_step(ranks: Ranks, state: TrainState, sums: torch.Tensor) -> None:
    """Give all ranks the same gradients and statistics, and add up ``sums`` in place.

    Args:
        ranks: all of them call this at the same step. One alone shares with nobody: nothing happens.
        state: its model has gradients; a rank that lacks one (all its batches were empty) adds nothing to it.
        sums: float32, any shape, the same on every rank.
    """
    if ranks.world_size == 1:
        return
    gradients = []
    for parameter in state.model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    changes = state.buffers.changes(state.model)
    ranks.add_up([*gradients, *changes, sums])
    torch._foreach_div_(changes, float(ranks.world_size))
    state.buffers.put_back(state.model, changes)
