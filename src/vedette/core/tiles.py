"""A grid of overlapping tiles that covers a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vedette.core.types import Image, IntArray, SizeHW
from vedette.errors import ModelError

SMALLEST_TILE = 32
MOST_OVERLAP = 0.9


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Where the tiles of one picture size lie. Made by :func:`tile_grid`; tiles are numbered row by row.

    Attributes:
        size_hw: of the picture.
        tile_hw: of every tile; a side is that of the picture if that is shorter.
        tops: first rows of the rows of tiles, ascending.
        lefts: first columns of the columns of tiles, ascending.
    """

    size_hw: SizeHW
    tile_hw: SizeHW
    tops: tuple[int, ...]
    lefts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def corners(self) -> IntArray:
        """All tiles, int64 [n, 4]: x1, y1, x2, y2 in pixels of the picture."""
        tops = np.repeat(np.array(self.tops, dtype=np.int64), len(self.lefts))
        lefts = np.tile(np.array(self.lefts, dtype=np.int64), len(self.tops))
        return np.stack((lefts, tops, lefts + self.tile_hw[1], tops + self.tile_hw[0]), axis=1)

    def neighbours(self) -> tuple[IntArray, IntArray]:
        """Numbers of tiles side by side, int64 [k, 2] (left, right), and of tiles one above the other."""
        numbers = np.arange(len(self), dtype=np.int64).reshape(len(self.tops), len(self.lefts))
        beside = np.stack((numbers[:, :-1].ravel(), numbers[:, 1:].ravel()), axis=1)
        below = np.stack((numbers[:-1].ravel(), numbers[1:].ravel()), axis=1)
        return beside, below

    def cut(self, image: Image, number: int) -> Image:
        """One tile of a picture of this size, as a view of it."""
        row, column = divmod(number, len(self.lefts))
        top, left = self.tops[row], self.lefts[column]
        return image[top : top + self.tile_hw[0], left : left + self.tile_hw[1]]


def tile_grid(size_hw: SizeHW, tile_hw: SizeHW, overlap: float) -> TileGrid:
    """The tiles of a picture: from the top left on, the last row and column moved inward.

    Neighbours share at least ``overlap`` of a tile's side, so whatever is no longer than that lies whole in one tile
    at least. Every pixel is in a tile, and no tile is smaller than asked for unless the picture is.

    Args:
        size_hw: of the picture, in pixels.
        tile_hw: of a tile, 32 pixels a side or more.
        overlap: 0..0.9, as a part of the tile's side.

    Raises:
        ModelError: a value is out of range.
    """
    if min(size_hw) < 1:
        raise ModelError(f"a picture of {size_hw[0]}x{size_hw[1]} pixels has no tiles")
    if min(tile_hw) < SMALLEST_TILE:
        raise ModelError(f"a tile has at least {SMALLEST_TILE} pixels a side", where="tile")
    if not 0 <= overlap <= MOST_OVERLAP:
        raise ModelError(f"{overlap} is not between 0 and {MOST_OVERLAP}", where="overlap")
    tops = _firsts(size_hw[0], tile_hw[0], overlap)
    lefts = _firsts(size_hw[1], tile_hw[1], overlap)
    return TileGrid(size_hw, (min(tile_hw[0], size_hw[0]), min(tile_hw[1], size_hw[1])), tops, lefts)


def _firsts(length: int, tile: int, overlap: float) -> tuple[int, ...]:
    """First pixels of the tiles along one side."""
    last = max(length - tile, 0)
    # Rounded up, so that the overlap is never less than asked for; 1e-9: a product that is whole but for rounding.
    step = tile - int(np.ceil(tile * overlap - 1e-9))
    return (*range(0, last, step), last)
