"""How the length of a run changes while it goes on: by command, to keep its time budget, or when patience runs out.

The rules are in :mod:`vedette.train.length` and :mod:`vedette.train.stopping`; here they meet the state, the clock and
the trackers. All changes happen between epochs (by command: where the run was taken up) and are part of the state, so
a run that is killed afterwards goes on under the same plan. The clock decides about nothing but a time budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vedette.errors import UsageError
from vedette.track.durations import format_seconds
from vedette.track.events import EpochDone, LengthChanged
from vedette.train.events import Emitter
from vedette.train.length import Pace, Turn, fitted_length, planned_epochs
from vedette.train.state import Progress
from vedette.train.stopping import patience_ran_out

if TYPE_CHECKING:
    from vedette.train.setup import Setup

StopWhen = Callable[[EpochDone], bool]
"""Whether a run shall end with this epoch."""

_SECONDS_PER_HOUR = 3600.0


class Course:
    """Watches over the length of one run, from its start or from where it was taken up.

    Args:
        setup: the run; its schedule follows the turns that are made here.
        emitter: told about every change.
        stop_when: the caller's own reason to end the run; where there are several ranks, the first one asks.
    """

    def __init__(self, setup: Setup, emitter: Emitter, stop_when: StopWhen | None = None) -> None:
        self._setup = setup
        self._emitter = emitter
        self._stop_when = stop_when
        self._began = time.monotonic() - setup.state.progress.elapsed
        self._epoch_ended = self._began

    def note_time(self) -> None:
        """Bring the state's clock up to date; call it before the state is saved."""
        self._setup.state.progress.elapsed = time.monotonic() - self._began

    def fit_to_budget(self) -> None:
        """When an epoch is trained and not yet measured: fit the run to its time budget, if it has one.

        The length may become what is done; then the run is over.
        """
        self._epoch_ended = time.monotonic()
        progress, schedule = self._setup.state.progress, self._setup.rules.schedule
        budget = self._setup.config.time_budget * _SECONDS_PER_HOUR
        if budget <= 0:
            return
        done = progress.step // schedule.batches_per_epoch
        pace = Pace(max(progress.sums.seconds, progress.seconds / done), progress.closing_seconds)

        def fitted() -> int:
            return fitted_length(
                asked=self._setup.config.epochs,
                planned=schedule.planned_epochs,
                done=done,
                seconds_left=budget - (self._epoch_ended - self._began),
                pace=pace,
            )

        epochs = self._setup.rules.ranks.from_first(fitted)  # the ranks' clocks differ
        if epochs == schedule.planned_epochs:
            return
        progress.ended = (
            f"time budget of {self._setup.config.time_budget:g} h: {epochs} of "
            f"{self._setup.config.epochs} epochs fit into it"
            if epochs < self._setup.config.epochs
            else ""
        )
        each = format_seconds(pace.training + pace.closing)
        self._turn(epochs, f"an epoch takes {each}: {epochs} epochs fit into the time budget")

    def ends_with(self, epoch: EpochDone) -> bool:
        """After an epoch was measured: end the run with it if nothing got better for long, or the caller says so."""
        progress = self._setup.state.progress
        reason = self._impatience() or self._setup.rules.ranks.from_first(lambda: self._stopped(epoch))
        if reason:
            progress.ended = reason
            self._turn(len(progress.history), reason)
        return bool(reason)

    def _impatience(self) -> str:
        progress, patience = self._setup.state.progress, self._setup.config.patience
        ran_out = patience_ran_out(
            patience,
            epochs_done=len(progress.history),
            best_epoch=progress.best_epoch,
            best_fitness=progress.best_fitness,
            extended_at=progress.extended_at,
        )
        best = f"the best was that of epoch {progress.best_epoch + 1}"
        return f"patience: no better model in {patience} epochs, {best}" if ran_out else ""

    def _stopped(self, epoch: EpochDone) -> str:
        return "ended on request" if self._stop_when is not None and self._stop_when(epoch) else ""

    def close_epoch(self) -> None:
        """When an epoch is measured and saved: remember how long that took."""
        progress = self._setup.state.progress
        progress.closing_seconds = max(progress.closing_seconds, time.monotonic() - self._epoch_ended)

    def _turn(self, epochs: int, reason: str) -> None:
        progress = self._setup.state.progress
        progress.turns.append(Turn(progress.step, epochs))
        self._setup.follow_turns()
        self._emitter.emit(LengthChanged(progress.step, epochs, reason))


def take_new_length(progress: Progress, epochs: int, *, began_with: int, batches_per_epoch: int) -> bool:
    """Let a run that is taken up again end after ``epochs`` epochs in all; returns whether that is a change.

    Args:
        progress: changed in place.
        epochs: the new length.
        began_with: the length at the run's start.
        batches_per_epoch: iterations of an epoch.

    Raises:
        UsageError: so many epochs are done already.
    """
    if epochs == planned_epochs(began_with, progress.turns):
        return False
    done = -(-progress.step // batches_per_epoch)
    if epochs < done:
        raise UsageError(
            f"epoch {done} is already done or begun", where=f"--epochs {epochs}", fix=f"give {done} or more"
        )
    progress.turns.append(Turn(progress.step, epochs))
    progress.extended_at = progress.step // batches_per_epoch
    progress.ended = ""
    return True
