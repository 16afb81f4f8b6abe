"""Patience counts epochs without a better model, from the right one on."""

from __future__ import annotations

import pytest

from vedette.train.stopping import patience_ran_out


@pytest.mark.parametrize(
    ("epochs_done", "best_epoch", "ended"),
    [(4, 3, False), (6, 3, False), (7, 3, True), (9, 3, True), (3, 0, False), (4, 0, True)],
)
def test_patience(epochs_done: int, best_epoch: int, ended: bool) -> None:
    """``best_epoch`` is 0-based: best 3 and 7 done are 3 epochs (4, 5 and 6) without a better one."""
    assert patience_ran_out(3, epochs_done=epochs_done, best_epoch=best_epoch, best_fitness=0.5) == ended


def test_no_patience_is_endless() -> None:
    assert not patience_ran_out(0, epochs_done=1000, best_epoch=0, best_fitness=0.5)


@pytest.mark.parametrize(("best_epoch", "best_fitness"), [(-1, -1.0), (0, 0.0)])
def test_a_run_that_found_nothing_yet_is_not_ended(best_epoch: int, best_fitness: float) -> None:
    assert not patience_ran_out(2, epochs_done=50, best_epoch=best_epoch, best_fitness=best_fitness)


def test_a_new_length_starts_the_waiting_anew() -> None:
    late = {"best_epoch": 3, "best_fitness": 0.5, "extended_at": 10}
    assert not patience_ran_out(3, epochs_done=12, **late)  # type: ignore[arg-type]
    assert patience_ran_out(3, epochs_done=13, **late)  # type: ignore[arg-type]
