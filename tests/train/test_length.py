"""Turns bend the curve of a run, and never tear it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.train.length import Pace, Turn, fitted_length, planned_epochs, progress_at

BATCHES = 7


@st.composite
def courses(draw: st.DrawFn) -> tuple[int, list[Turn]]:
    """A first length and turns that could happen: each within the length in force, none below what is done."""
    began_with = draw(st.integers(1, 40))
    turns: list[Turn] = []
    step = 0
    for _ in range(draw(st.integers(0, 5))):
        end = planned_epochs(began_with, turns) * BATCHES
        step = draw(st.integers(step, end))
        turns.append(Turn(step, draw(st.integers(-(-step // BATCHES) or 1, 60))))
    return began_with, turns


@given(courses())
def test_a_turn_never_tears_the_curve(course: tuple[int, list[Turn]]) -> None:
    began_with, turns = course
    end = planned_epochs(began_with, turns) * BATCHES
    progress = [progress_at(step, began_with, BATCHES, turns) for step in range(end + 1)]
    assert progress[0] == 0
    assert all(later >= earlier for earlier, later in itertools.pairwise(progress))
    assert all(0 <= value <= 1 + 1e-12 for value in progress)
    last_turn = turns[-1].step if turns else -1
    if last_turn < end:
        assert progress[-1] == pytest.approx(1)


@given(courses())
def test_what_is_done_stays(course: tuple[int, list[Turn]]) -> None:
    began_with, turns = course
    for number, turn in enumerate(turns):
        before = [progress_at(step, began_with, BATCHES, turns[:number]) for step in range(turn.step + 1)]
        after = [progress_at(step, began_with, BATCHES, turns) for step in range(turn.step + 1)]
        assert after == before


def test_without_turns_it_is_a_plain_quotient() -> None:
    assert [progress_at(step, 3, 5) for step in range(16)] == [step / 15 for step in range(16)]


def test_stretched_and_compressed() -> None:
    """Half way through 10 epochs: made 15 long, the rest takes twice as long; made 6 long, a fifth."""
    longer, shorter = [Turn(50, 15)], [Turn(50, 6)]
    assert [progress_at(step, 10, 10, longer) for step in (50, 75, 100, 150)] == [0.5, 0.625, 0.75, 1]
    assert [progress_at(step, 10, 10, shorter) for step in (50, 55, 60)] == [0.5, 0.75, 1]


def test_a_finished_run_stays_at_its_end() -> None:
    assert progress_at(150, 10, 10, [Turn(100, 20)]) == 1


def test_a_run_stopped_early_goes_on_where_it_was() -> None:
    turns = [Turn(30, 3), Turn(30, 10)]
    assert [progress_at(step, 10, 10, turns) for step in (30, 65, 100)] == pytest.approx([0.3, 0.65, 1])


def _fitted(planned: int, done: int, seconds_left: float, asked: int = 100) -> int:
    return fitted_length(
        asked=asked, planned=planned, done=done, seconds_left=seconds_left, pace=Pace(8.0, 2.0)
    )


def test_a_budget_shortens_at_once() -> None:
    assert _fitted(100, 1, 102) == 11
    assert _fitted(11, 5, 41) == 8


def test_a_budget_that_is_used_up_ends_the_run() -> None:
    assert _fitted(100, 3, 5) == 3
    assert _fitted(100, 3, -50) == 3


def test_a_budget_that_suffices_changes_nothing() -> None:
    assert _fitted(100, 1, 10_000) == 100


def test_a_plan_grows_only_for_more_than_noise() -> None:
    assert _fitted(50, 10, 10 * 43 + 2) == 50
    assert _fitted(50, 10, 10 * 45 + 2) == 55
    assert _fitted(50, 10, 10_000) == 100
