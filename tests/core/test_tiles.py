from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.core.tiles import tile_grid
from vedette.errors import ModelError


def test_by_hand():
    grid = tile_grid((1000, 1280), (640, 640), 0.2)
    assert (grid.tops, grid.lefts) == ((0, 360), (0, 512, 640))
    assert grid.corners().tolist() == [
        [0, 0, 640, 640], [512, 0, 1152, 640], [640, 0, 1280, 640],
        [0, 360, 640, 1000], [512, 360, 1152, 1000], [640, 360, 1280, 1000],
    ]  # fmt: skip
    beside, below = grid.neighbours()
    assert beside.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5]]
    assert below.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_picture_smaller_than_a_tile_is_one_tile():
    grid = tile_grid((300, 500), (640, 640), 0.2)
    assert grid.corners().tolist() == [[0, 0, 500, 300]]
    assert [len(pairs) for pairs in grid.neighbours()] == [0, 0]


def test_tiles_need_not_be_square():
    grid = tile_grid((100, 400), (64, 128), 0.5)
    assert grid.lefts == (0, 64, 128, 192, 256, 272)
    assert grid.tops == (0, 32, 36)


def test_a_tile_is_a_view():
    image = np.arange(100 * 90 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 90, 3)
    grid = tile_grid((100, 90), (64, 64), 0.0)
    for number, (x1, y1, x2, y2) in enumerate(grid.corners().tolist()):
        tile = grid.cut(image, number)
        np.testing.assert_array_equal(tile, image[y1:y2, x1:x2])
        assert np.shares_memory(tile, image)


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.integers(32, 900), st.integers(32, 900)),
    st.floats(0, 0.9),
)
def test_properties(size_hw, tile_hw, overlap):
    grid = tile_grid(size_hw, tile_hw, overlap)
    for length, side, firsts in zip(size_hw, grid.tile_hw, (grid.tops, grid.lefts), strict=True):
        steps = np.diff(firsts)
        assert (firsts[0], firsts[-1] + side) == (0, length), "covered from end to end"
        assert (steps > 0).all()
        assert len(steps) == 0 or side - steps.max() >= overlap * side - 1e-6, "overlap as asked for"
    corners = grid.corners()
    assert len(corners) == len(grid)
    assert (corners[:, 2:] - corners[:, :2] == (grid.tile_hw[1], grid.tile_hw[0])).all()
    assert grid == tile_grid(size_hw, tile_hw, overlap)


@given(st.data())
def test_what_is_no_longer_than_the_overlap_is_whole_in_one_tile(data):
    size_hw = data.draw(st.tuples(st.integers(64, 2000), st.integers(64, 2000)))
    overlap = data.draw(st.sampled_from([0.1, 0.2, 0.33, 0.5]))
    height, width = (
        data.draw(st.integers(1, int(min(64, side) * overlap) or 1).map(lambda n, side=side: min(n, side)))
        for side in size_hw
    )
    top = data.draw(st.integers(0, size_hw[0] - height))
    left = data.draw(st.integers(0, size_hw[1] - width))
    x1, y1, x2, y2 = tile_grid(size_hw, (64, 64), overlap).corners().T
    assert ((x1 <= left) & (y1 <= top) & (x2 >= left + width) & (y2 >= top + height)).any()


@pytest.mark.parametrize(
    ("size_hw", "tile_hw", "overlap", "text"),
    [
        ((100, 100), (31, 64), 0.2, "at least 32 pixels"),
        ((100, 100), (64, 64), 0.95, "between 0 and 0.9"),
        ((100, 100), (64, 64), -0.1, "between 0 and 0.9"),
        ((100, 100), (64, 64), float("nan"), "between 0 and 0.9"),
        ((0, 100), (64, 64), 0.1, "has no tiles"),
    ],
)
def test_what_makes_no_sense(size_hw, tile_hw, overlap, text):
    with pytest.raises(ModelError, match=text):
        tile_grid(size_hw, tile_hw, overlap)
