"""The length of a run changes where it should, is told to the trackers, and is part of the state."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import UsageError
from vedette.track.events import EpochDone, Event, LengthChanged
from vedette.train.course import Course, StopWhen, take_new_length
from vedette.train.distributed.ranks import ALONE
from vedette.train.events import Emitter
from vedette.train.length import Turn
from vedette.train.schedule import Schedule
from vedette.train.state import EpochSums, Progress

BATCHES = 4
EPOCH = EpochDone(0, {}, (), best=False)


class _Rules:
    ranks = ALONE

    def __init__(self, epochs: int) -> None:
        self.schedule = Schedule.build(
            Hyperparameters(), epochs=epochs, images_per_epoch=BATCHES, batch_size=1
        )


class _State:
    def __init__(self, progress: Progress) -> None:
        self.progress = progress


class _Run:
    """The parts of a run that its length depends on, and a tracker of its events."""

    def __init__(self, progress: Progress, stop_when: StopWhen | None = None, **settings: Any) -> None:
        self.config = TrainConfig(epochs=100, **settings)
        self.rules, self.state = _Rules(100), _State(progress)
        self.events: list[Event] = []
        self.course = Course(self, Emitter([self]), stop_when)  # type: ignore[arg-type,list-item]

    def handle(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None: ...

    def follow_turns(self) -> None:
        turns = tuple(self.state.progress.turns)
        self.rules.schedule = replace(self.rules.schedule, turns=turns)


def _after_epochs(done: int, **facts: Any) -> Progress:
    history: list[dict[str, float | int | None]] = [{"epoch": number} for number in range(done)]
    sums = EpochSums(seconds=60.0)
    return Progress(step=done * BATCHES, seconds=60.0 * done, sums=sums, history=history, **facts)


def test_a_budget_fits_the_length_to_the_pace() -> None:
    run = _Run(_after_epochs(1, elapsed=60.0), time_budget=1.0)
    run.course.fit_to_budget()
    assert run.state.progress.turns == [Turn(BATCHES, 59)]  # 58 more, since a moment has passed already
    assert run.rules.schedule.iterations == 59 * BATCHES
    assert run.state.progress.ended == "time budget of 1 h: 59 of 100 epochs fit into it"
    assert [event.epochs for event in run.events if isinstance(event, LengthChanged)] == [59]


def test_measuring_and_saving_cost_time_too() -> None:
    run = _Run(_after_epochs(1, elapsed=60.0, closing_seconds=60.0), time_budget=1.0)
    run.course.fit_to_budget()
    assert run.rules.schedule.planned_epochs == 29


def test_without_a_budget_the_clock_decides_nothing() -> None:
    run = _Run(_after_epochs(1, elapsed=1e9))
    run.course.fit_to_budget()
    assert run.state.progress.turns == []


def test_the_clock_goes_on_after_a_resumption() -> None:
    run = _Run(Progress(elapsed=500.0))
    before = time.monotonic()
    run.course.note_time()
    assert 500.0 <= run.state.progress.elapsed <= 500.0 + time.monotonic() - before + 60.0


def test_closing_an_epoch_keeps_the_longest() -> None:
    run = _Run(_after_epochs(1, closing_seconds=3.0))
    run.course.fit_to_budget()
    run.course.close_epoch()
    assert run.state.progress.closing_seconds == 3.0


def test_patience_ends_the_run_where_it_is() -> None:
    run = _Run(_after_epochs(9, best_epoch=3, best_fitness=0.4), patience=5)
    assert run.course.ends_with(EPOCH)
    assert run.rules.schedule.iterations == 9 * BATCHES
    assert run.state.progress.ended == "patience: no better model in 5 epochs, the best was that of epoch 4"


def test_patience_that_lasts_changes_nothing() -> None:
    run = _Run(_after_epochs(8, best_epoch=3, best_fitness=0.4, ended="time budget"), patience=5)
    assert not run.course.ends_with(EPOCH)
    assert run.state.progress.turns == []
    assert run.state.progress.ended == "time budget"


def test_a_new_length_is_a_turn() -> None:
    progress = Progress(step=10, ended="patience")
    assert take_new_length(progress, 12, began_with=5, batches_per_epoch=BATCHES)
    assert progress.turns == [Turn(10, 12)]
    assert progress.extended_at == 2
    assert progress.ended == ""
    assert not take_new_length(progress, 12, began_with=5, batches_per_epoch=BATCHES)


def test_a_run_may_end_with_what_is_done_and_not_before() -> None:
    with pytest.raises(UsageError, match="--epochs 2: epoch 3 is already done or begun; give 3 or more"):
        take_new_length(Progress(step=10), 2, began_with=5, batches_per_epoch=BATCHES)
    assert take_new_length(Progress(step=12), 3, began_with=5, batches_per_epoch=BATCHES)


def test_turns_survive_the_state_file() -> None:
    progress = Progress(turns=[Turn(4, 9)], began_with=5, ended="x")
    assert Progress.from_json(progress.to_json()) == progress
    assert Progress.from_json({**progress.to_json(), "turns": [[4, 9]]}) == progress


@pytest.mark.parametrize("says", [True, False])
def test_the_caller_may_end_a_run(says: bool) -> None:
    run = _Run(_after_epochs(2), stop_when=lambda epoch: says and epoch is EPOCH)
    assert run.course.ends_with(EPOCH) == says
    assert run.rules.schedule.planned_epochs == (2 if says else 100)
    assert run.state.progress.ended == ("ended on request" if says else "")
