import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.assignment import best_pairs, least_cost_columns


def least_cost(cost):
    """Every choice tried."""
    rows, columns = cost.shape
    every = list(itertools.permutations(range(columns), rows))
    choices = np.array(every, dtype=int).reshape(len(every), rows)
    return cost[np.arange(rows), choices].sum(axis=1).min()


def greatest_gain(gain):
    """Every choice tried: useless pairs count nothing, so that all rows may be paired."""
    useful = np.maximum(gain if gain.shape[0] <= gain.shape[1] else gain.T, 0)
    return -least_cost(-useful)


def matrices(least=-9, most=9):
    """Up to 5 x 7, of few different numbers, which tie often, or of any."""
    sides = st.tuples(st.integers(0, 5), st.integers(0, 7))
    number = st.one_of(
        st.integers(least, most).map(float), st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False)
    )
    return sides.flatmap(
        lambda side: st.lists(number, min_size=side[0] * side[1], max_size=side[0] * side[1]).map(
            lambda values: np.array(values, dtype=np.float64).reshape(side)
        )
    )


def check_columns(cost):
    columns = least_cost_columns(cost)
    assert columns.dtype == np.int64
    assert len(set(columns.tolist())) == len(cost)
    assert ((columns >= 0) & (columns < cost.shape[1])).all()
    return cost[np.arange(len(cost)), columns].sum()


@pytest.mark.parametrize(("rows", "columns", "values"), [(3, 3, 3), (2, 4, 3), (2, 3, 4), (1, 4, 4)])
def test_every_small_matrix(rows, columns, values):
    every = np.array(list(itertools.product(range(values), repeat=rows * columns)), dtype=float)
    choices = np.array(list(itertools.permutations(range(columns), rows)))
    costs = every.reshape(-1, rows, columns)
    least = costs[:, np.arange(rows), choices].sum(axis=2).min(axis=1)
    for cost, expected in zip(costs, least, strict=True):
        assert check_columns(cost) == expected


@settings(max_examples=300, deadline=None)
@given(matrices())
def test_the_sum_is_that_of_trying_everything(matrix):
    cost = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    # The search adds and subtracts prices of up to the largest entry.
    assert check_columns(cost) == pytest.approx(least_cost(cost), rel=1e-12, abs=1e-8)


@settings(max_examples=300, deadline=None)
@given(matrices())
def test_pairs_gain_as_much_as_any(gain):
    rows, columns = best_pairs(gain)
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
    assert (np.diff(rows) > 0).all()
    assert (gain[rows, columns] > 0).all()
    assert gain[rows, columns].sum() == pytest.approx(greatest_gain(gain), rel=1e-12, abs=1e-8)


@pytest.mark.parametrize("shape", [(60, 60), (40, 90)])
def test_a_planted_optimum_is_found(shape):
    """Prices plus no slack on hidden pairs and some elsewhere: no other choice can be as cheap."""
    random = np.random.default_rng(shape[1])
    hidden = random.permutation(shape[1])[: shape[0]]
    slack = random.uniform(0.1, 1.0, shape)
    slack[np.arange(shape[0]), hidden] = 0
    column_price = np.where(np.isin(np.arange(shape[1]), hidden), random.uniform(-5, 0, shape[1]), 0)
    cost = random.uniform(-5, 5, (shape[0], 1)) + column_price + slack
    assert least_cost_columns(cost).tolist() == hidden.tolist()


def test_taking_the_best_first_is_not_enough():
    gain = np.array([[0.9, 0.8], [0.8, 0.0]])
    rows, columns = best_pairs(gain)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_what_gains_nothing_is_no_pair():
    gain = np.array([[0.0, -1.0, 0.5], [0.0, -2.0, 0.4], [-0.1, 0.0, 0.0]])
    rows, columns = best_pairs(gain)
    assert (rows.tolist(), columns.tolist()) == ([0], [2])
    for shape in ((0, 0), (0, 3), (3, 0)):
        assert [len(side) for side in best_pairs(np.zeros(shape))] == [0, 0]


def test_arguments_are_left_alone():
    gain = np.random.default_rng(0).normal(size=(6, 5))
    before = gain.copy()
    best_pairs(gain)
    least_cost_columns(gain.T)
    np.testing.assert_array_equal(gain, before)
