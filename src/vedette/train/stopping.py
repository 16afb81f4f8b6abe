"""When a run has stopped getting better (``--patience``)."""

from __future__ import annotations


def patience_ran_out(
    patience: int, *, epochs_done: int, best_epoch: int, best_fitness: float, extended_at: int = 0
) -> bool:
    """Whether ``patience`` epochs in a row brought no better model.

    A run that has found nothing yet (fitness 0) is still warming up: its patience is not used.

    Args:
        patience: epochs; 0 = endless.
        epochs_done: epochs trained and, the last of them, measured.
        best_epoch: 0-based epoch of the best fitness, -1 if nothing was measured.
        best_fitness: see :func:`vedette.train.measure.fitness`.
        extended_at: epochs that were done when the user last gave the run a new length; waiting starts anew there.
    """
    if patience < 1 or best_epoch < 0 or best_fitness <= 0:
        return False
    return epochs_done - max(best_epoch + 1, extended_at) >= patience
