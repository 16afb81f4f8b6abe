"""Linear assignment: the one-to-one pairs of rows and columns of the least total cost, or of the greatest total gain.

Shortest augmenting paths with dual variables, after Jonker and Volgenant ("A shortest augmenting path algorithm for
dense and sparse linear assignment problems", 1987) in the form of Crouse for rectangular matrices ("On implementing
2D rectangular assignment algorithms", 2016). Exact; the time grows at worst with the cube of the shorter side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import IntArray

Float64Array = NDArray[np.float64]


def least_cost_columns(cost: NDArray[Any]) -> IntArray:
    """The column of each row so that the sum of costs is least.

    Args:
        cost: [n, m] finite numbers, n at most m.

    Returns:
        int64 [n], all different. Which of several equally good choices it is depends on ``cost`` alone.
    """
    cost = np.asarray(cost, dtype=np.float64)
    rows, columns = cost.shape
    assert rows <= columns, "every row needs a column"
    row_price, column_price = cost.min(axis=1, initial=np.inf), np.zeros(columns)
    column_of, row_of = _start(cost)
    for row in np.flatnonzero(column_of < 0).tolist():
        _augment(row, cost, (row_price, column_price), (column_of, row_of))
    return column_of


def best_pairs(gain: NDArray[Any]) -> tuple[IntArray, IntArray]:
    """The pairs of rows and columns, each in at most one, whose sum of gains is greatest.

    Args:
        gain: [n, m] finite numbers. Entries of 0 and less make no pair: nothing is gained by it.

    Returns:
        Rows and columns of the pairs, int64 [k] each, rows ascending.
    """
    rows, columns = np.nonzero(gain > 0)
    chosen = best_of_pairs(rows, columns, gain[rows, columns])
    return rows[chosen], columns[chosen]


def best_of_pairs(rows: IntArray, columns: IntArray, gain: NDArray[Any]) -> IntArray:
    """The same where few pairs are possible at all: which of K different pairs to take.

    Args:
        rows: int64 [K], from 0.
        columns: int64 [K], from 0.
        gain: [K] numbers above 0.

    Returns:
        int64 [k], positions, by row.
    """
    # Pairs that nothing competes with are most of them in practice, and need no search.
    alone = (np.bincount(rows)[rows] == 1) & (np.bincount(columns)[columns] == 1)
    chosen: IntArray = np.flatnonzero(alone)
    contested = np.flatnonzero(~alone)
    if len(contested):
        chosen = np.concatenate(
            (chosen, contested[_searched(rows[contested], columns[contested], gain[contested])])
        )
    return chosen[np.argsort(rows[chosen], kind="stable")]


def _searched(rows: IntArray, columns: IntArray, gain: NDArray[Any]) -> IntArray:
    """Positions of the best pairs among some, at least one."""
    row_names, rows = np.unique(rows, return_inverse=True)
    column_names, columns = np.unique(columns, return_inverse=True)
    if len(row_names) > len(column_names):
        rows, columns = columns, rows
    cost = np.zeros((rows.max() + 1, columns.max() + 1))
    position = np.full(cost.shape, -1, dtype=np.int64)
    cost[rows, columns], position[rows, columns] = -gain, np.arange(len(gain))
    found: IntArray = position[np.arange(len(cost)), least_cost_columns(cost)]
    return found[found >= 0]


def _start(cost: Float64Array) -> tuple[IntArray, IntArray]:
    """Rows on their cheapest column where it is free: column of each row, row of each column, -1 for none.

    With the rows' least costs as their prices and columns for nothing, these pairs have no slack.
    """
    column_of: IntArray = np.full(cost.shape[0], -1, dtype=np.int64)
    row_of: IntArray = np.full(cost.shape[1], -1, dtype=np.int64)
    if cost.size:
        columns, rows = np.unique(cost.argmin(axis=1), return_index=True)
        column_of[rows], row_of[columns] = columns, rows
    return column_of, row_of


def _augment(
    start: int,
    cost: Float64Array,
    prices: tuple[Float64Array, Float64Array],
    pairs: tuple[IntArray, IntArray],
) -> None:
    """Give row ``start`` a column over the path of least slack; changes prices and pairs in place."""
    (row_price, column_price), (column_of, row_of) = prices, pairs
    columns = len(column_price)
    slack = np.full(columns, np.inf)  # of the best path to each column
    before: IntArray = np.full(columns, -1, dtype=np.int64)  # the row that this path comes from
    open_slack = slack.copy()  # the same, infinite where the path is final
    final: NDArray[np.bool_] = np.zeros(columns, dtype=np.bool_)
    row, reached, length = start, -1, 0.0
    while True:
        candidate = cost[row] - column_price + (length - row_price[row])
        better = (candidate < slack) & ~final
        slack[better] = open_slack[better] = candidate[better]
        before[better] = row
        reached = int(open_slack.argmin())
        length = float(slack[reached])
        if row_of[reached] < 0:
            break
        final[reached], open_slack[reached] = True, np.inf
        row = int(row_of[reached])
    row_price[start] += length
    row_price[row_of[final]] += length - slack[final]
    column_price[final] -= length - slack[final]
    while reached >= 0:
        row = int(before[reached])
        row_of[reached] = row
        column_of[row], reached = reached, -1 if row == start else int(column_of[row])
