"""How long a run is: the length it began with, and every later change of it.

A change is a :class:`Turn`. What has been done stays as it was; the rest of the learning-rate curve is stretched or
compressed over the epochs that are left, so the rate is continuous, never rises and ends where it always would.
Turns are part of the run's state, so the schedule stays a function of the iteration's number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_GROWTH_WORTH_A_TURN = 0.1


class Turn(NamedTuple):
    """From iteration ``step`` on the run is planned to end after ``epochs`` epochs in all."""

    step: int
    epochs: int


def planned_epochs(epochs: int, turns: Iterable[Turn]) -> int:
    """The length in force after all ``turns`` of a run that began with ``epochs``."""
    for turn in turns:
        epochs = turn.epochs
    return epochs


def progress_at(step: int, epochs: int, batches_per_epoch: int, turns: Iterable[Turn] = ()) -> float:
    """How far along its curve a run is at iteration ``step``: 0 at its first, 1 at the end that is planned.

    A piecewise linear, continuous, never falling function of ``step``. A run that had come to its end before it
    was made longer stays at 1. Without turns it goes on beyond 1 for iterations after the end.

    Args:
        step: iteration, 0-based.
        epochs: length the run began with.
        batches_per_epoch: iterations of an epoch.
        turns: in the order they were made.
    """
    done, start, end = 0.0, 0, epochs * batches_per_epoch
    for turn in turns:
        if turn.step >= step:
            break
        done = min(_advanced(done, start, end, turn.step), 1.0)
        start, end = turn.step, turn.epochs * batches_per_epoch
    return _advanced(done, start, end, step)


def _advanced(done: float, start: int, end: int, step: int) -> float:
    return done + (1 - done) * ((step - start) / (end - start)) if end > start else done


class Pace(NamedTuple):
    """What epochs cost in seconds.

    Attributes:
        training: of one epoch, without what follows it.
        closing: of measuring and saving after an epoch.
    """

    training: float
    closing: float


def fitted_length(*, asked: int, planned: int, done: int, seconds_left: float, pace: Pace) -> int:
    """Epochs that a run with a time budget should have in all, judged when ``done`` of them are trained.

    The plan is shortened at once when the time does not suffice, and made longer, up to what was asked for, only
    by a tenth or more of what is left: a little noise in the pace does not bend the schedule every epoch.

    Args:
        asked: length the user gave.
        planned: length in force.
        done: epochs trained, the one that is still to be measured included.
        seconds_left: of the budget.
        pace: what an epoch costs.
    """
    each = max(pace.training + pace.closing, 1e-9)
    further = max(0, int((seconds_left - pace.closing) / each))
    affordable = min(asked, done + further)
    worth_it = affordable - planned > max(1.0, _GROWTH_WORTH_A_TURN * (planned - done))
    return affordable if affordable < planned or worth_it else planned
