"""One set of boxes from several views of a picture: overlapping tiles, and the whole picture as one more view.

Each view has had its own suppression. What is left to do is to find out which boxes of different views are the same
object, and not to count parts of objects that a tile's border cut in two. Own design; figures behind the numbers are in
docs/tiling.md.

A tile's box that ends at a border with more picture behind it is a *piece*; all others are *whole*.

1. The whole picture answers only for what is too large to lie whole in a tile wherever it is; smaller boxes of it are
   left out, as tiles see such objects at full size.
2. Whole boxes of different views suppress each other greedily by score, like boxes of one view (IoU, same class).
3. Pieces of neighbouring tiles are joined into the box around them if both reach right through the strip that the tiles
   share and agree along the seam. The best pairs come first, and each end of a piece is joined once.
4. Pieces, joined or not, that mostly lie in a better piece of another view are left out, and so are those that mostly
   lie in a whole box or repeat it: a whole box of any score is better than a part of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vedette.core.boxes import box_area
from vedette.core.nms import NmsSettings, best_first, greedy, pairwise_iou
from vedette.core.tiles import TileGrid
from vedette.core.types import BoolArray, FloatArray, IntArray

WHOLE_PICTURE = -1
"""Number of the view that is no tile."""

_REPEAT_IOU = 0.45
"""Boxes of different views are repeats above this IoU, or above that of suppression if that is lower. Within a view,
boxes that overlap more may well be two objects; but where two views overlap, each sees both."""

_MARGIN = 0.02
"""A box ends at a border if it ends this close to it, as a part of the tile's side."""

_COVERED = 0.7
"""A piece is left out if more than this part of it lies in one other box."""

_AGREEMENT = 0.5
"""Two pieces are of one object if their extents along the seam overlap (1-D IoU) more than this."""

_BLOCK = 512

# Corner values of a box: where it begins and ends across a seam, and along it.
_SIDE_BY_SIDE = (0, 2, 1, 3)
_ONE_ABOVE_THE_OTHER = (1, 3, 0, 2)


@dataclass(frozen=True, slots=True)
class FoundInViews:
    """Boxes of all views of a picture, one row a box.

    Attributes:
        boxes_xyxy_px: float32 [N, 4], in pixels of the picture, inside their view.
        scores: float32 [N].
        class_ids: int64 [N].
        views: int64 [N], number of the tile each was found in, or ``WHOLE_PICTURE``.
    """

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_ids: IntArray
    views: IntArray

    def __len__(self) -> int:
        return len(self.scores)

    def chosen(self, rows: IntArray | BoolArray | slice) -> FoundInViews:
        """Some of the boxes, by number, by mask or by place."""
        return FoundInViews(
            self.boxes_xyxy_px[rows], self.scores[rows], self.class_ids[rows], self.views[rows]
        )


def merge_views(found: FoundInViews, grid: TileGrid, settings: NmsSettings) -> tuple[FoundInViews, bool]:
    """The objects behind the boxes of several views, by the rule above.

    Args:
        found: what suppression left of each view.
        grid: the tiles.
        settings: of that suppression: its IoU threshold, ``agnostic``, ``max_candidates`` and ``max_detections`` hold
            here as well.

    Returns:
        The boxes, best score first, and False if ``max_candidates`` cut some off.
    """
    order = best_first(found.scores, settings.max_candidates)
    complete = len(order) == len(found)
    found = found.chosen(order)
    found = found.chosen(~_seen_better_in_tiles(found, grid))
    groups = np.zeros_like(found.class_ids) if settings.agnostic else found.class_ids
    threshold = min(settings.iou_threshold, _REPEAT_IOU)
    merged = found.chosen(slice(0))
    for group in np.unique(groups):
        merged = _together(merged, _merge_group(found.chosen(groups == group), grid, threshold))
    return merged.chosen(best_first(merged.scores, settings.max_detections)), complete


def _merge_group(found: FoundInViews, grid: TileGrid, iou_threshold: float) -> FoundInViews:
    """Steps 2 to 4 for boxes in order of falling score that all may be the same object."""
    ends_at = cut_sides(found, grid)
    is_piece: BoolArray = np.asarray(ends_at.any(axis=1))
    whole = found.chosen(~is_piece)
    whole = whole.chosen(_without_repeats(whole, iou_threshold))
    if not is_piece.any():
        return whole
    pieces = _joined(found.chosen(is_piece), ends_at[is_piece], grid)
    pieces = pieces.chosen(_without_covered(pieces))
    return _together(whole, pieces.chosen(~_known(whole, pieces, iou_threshold)))


def cut_sides(found: FoundInViews, grid: TileGrid) -> BoolArray:
    """At which borders of their tile, with more picture behind, boxes end: bool [N, 4], left, top, right, bottom."""
    in_tile = found.views != WHOLE_PICTURE
    tiles = grid.corners()[np.where(in_tile, found.views, 0)].astype(np.float32)
    margin_x, margin_y = _margins(grid)
    boxes, (height, width) = found.boxes_xyxy_px, grid.size_hw
    ends = np.stack(
        (
            (tiles[:, 0] > 0) & (boxes[:, 0] <= tiles[:, 0] + margin_x),
            (tiles[:, 1] > 0) & (boxes[:, 1] <= tiles[:, 1] + margin_y),
            (tiles[:, 2] < width) & (boxes[:, 2] >= tiles[:, 2] - margin_x),
            (tiles[:, 3] < height) & (boxes[:, 3] >= tiles[:, 3] - margin_y),
        ),
        axis=1,
    )
    cut: BoolArray = ends & in_tile[:, None]
    return cut


def _margins(grid: TileGrid) -> tuple[float, float]:
    return _MARGIN * grid.tile_hw[1], _MARGIN * grid.tile_hw[0]


def _seen_better_in_tiles(found: FoundInViews, grid: TileGrid) -> BoolArray:
    """Boxes of the whole picture so small that, wherever they are, one tile holds them without cutting: bool [N]."""
    limits = []
    for firsts, side, margin in zip((grid.lefts, grid.tops), grid.tile_hw[::-1], _margins(grid), strict=True):
        steps = np.diff(firsts)
        limits.append(side - steps.max() - 2 * margin if len(steps) else np.inf)
    sides = found.boxes_xyxy_px[:, 2:] - found.boxes_xyxy_px[:, :2]
    small: BoolArray = (found.views == WHOLE_PICTURE) & (sides <= np.array(limits, np.float32)).all(axis=1)
    return small


def _without_repeats(found: FoundInViews, iou_threshold: float) -> IntArray:
    """Step 2: positions of what is kept of boxes in order of falling score."""
    boxes, views, threshold = found.boxes_xyxy_px, found.views, np.float32(iou_threshold)

    def suppresses(first: IntArray, second: IntArray) -> BoolArray:
        overlap = pairwise_iou(boxes[first], boxes[second]) > threshold
        return np.asarray(overlap & (views[first, None] != views[second]))

    return greedy(len(found), suppresses, len(found))


def _without_covered(pieces: FoundInViews) -> IntArray:
    """Step 4, among pieces: positions of what is kept; of equal scores the larger piece is the better one."""
    order = np.lexsort((-box_area(pieces.boxes_xyxy_px), -pieces.scores))
    boxes, views = pieces.boxes_xyxy_px[order], pieces.views[order]

    def suppresses(first: IntArray, second: IntArray) -> BoolArray:
        covered = _part_inside(boxes[first], boxes[second]) > _COVERED
        return np.asarray(covered & (views[first, None] != views[second]))

    return order[greedy(len(order), suppresses, len(order))]


def _known(whole: FoundInViews, pieces: FoundInViews, iou_threshold: float) -> BoolArray:
    """Step 4: which pieces mostly lie in a whole box of another view or repeat it, bool [n]."""
    known = np.zeros(len(pieces), dtype=np.bool_)
    for start in range(0, len(whole), _BLOCK):
        part = slice(start, start + _BLOCK)
        boxes = whole.boxes_xyxy_px[part], pieces.boxes_xyxy_px
        same = (_part_inside(*boxes) > _COVERED) | (pairwise_iou(*boxes) > np.float32(iou_threshold))
        known |= (same & (whole.views[part, None] != pieces.views)).any(axis=0)
    return known


def _part_inside(boxes: FloatArray, pieces: FloatArray) -> FloatArray:
    """How much of each piece lies in each box: [n, 4] and [m, 4] to [n, m], 0..1."""
    x1, y1, x2, y2 = boxes.T[:, :, None]
    piece_x1, piece_y1, piece_x2, piece_y2 = pieces.T
    width = np.minimum(x2, piece_x2) - np.maximum(x1, piece_x1)
    height = np.minimum(y2, piece_y2) - np.maximum(y1, piece_y1)
    inter = np.maximum(width, 0) * np.maximum(height, 0)
    part: FloatArray = inter / np.maximum(box_area(pieces), np.finfo(np.float32).tiny)
    return part


def _joined(pieces: FoundInViews, ends_at: BoolArray, grid: TileGrid) -> FoundInViews:
    """Step 3: pieces in order of falling score as the objects they are pieces of; a joined one is of no view."""
    pairs = sorted(_matching_pairs(pieces, ends_at, grid), key=lambda pair: -pair.score)
    object_of = np.arange(len(pieces))
    taken = set[tuple[int, int]]()
    for pair in pairs:
        ends = {(pair.first, pair.side), (pair.second, pair.side - 2)}
        if not ends & taken:
            taken |= ends
            object_of[object_of == object_of[pair.second]] = object_of[pair.first]
    _, best, object_of = np.unique(object_of, return_index=True, return_inverse=True)
    boxes = pieces.boxes_xyxy_px[best]
    for side, extreme in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        extreme.at(boxes[:, side], object_of, pieces.boxes_xyxy_px[:, side])
    alone = np.bincount(object_of) == 1
    views = np.where(alone, pieces.views[best], WHOLE_PICTURE - 1 - np.arange(len(best)))
    return FoundInViews(boxes, pieces.scores[best], pieces.class_ids[best], views)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two pieces that may be joined: the first ends at ``side`` (2: right, 3: bottom), the second at the opposite."""

    score: float
    first: int
    second: int
    side: int


def _matching_pairs(pieces: FoundInViews, ends_at: BoolArray, grid: TileGrid) -> Iterator[_Pair]:
    """Pairs of pieces of neighbouring tiles that look like two parts of one object."""
    rows_of = {int(view): np.flatnonzero(pieces.views == view) for view in np.unique(pieces.views)}
    corners, nothing = grid.corners(), np.empty(0, dtype=np.int64)
    for neighbours, axes in zip(grid.neighbours(), (_SIDE_BY_SIDE, _ONE_ABOVE_THE_OTHER), strict=True):
        low, high, along_low, along_high = axes
        margin = _margins(grid)[low]
        for first_tile, second_tile in neighbours.tolist():
            first, second = rows_of.get(first_tile, nothing), rows_of.get(second_tile, nothing)
            # Both go through the whole strip between the second tile's beginning and the first one's end.
            first = first[ends_at[first, high]]
            first = first[pieces.boxes_xyxy_px[first, low] <= corners[second_tile, low] + margin]
            second = second[ends_at[second, low]]
            second = second[pieces.boxes_xyxy_px[second, high] >= corners[first_tile, high] - margin]
            if not len(first) or not len(second):
                continue
            a, b = pieces.boxes_xyxy_px[first, None], pieces.boxes_xyxy_px[None, second]
            shared = np.minimum(a[..., along_high], b[..., along_high])
            shared = shared - np.maximum(a[..., along_low], b[..., along_low])
            spanned = np.maximum(a[..., along_high], b[..., along_high])
            spanned = spanned - np.minimum(a[..., along_low], b[..., along_low])
            for row, column in zip(*np.nonzero(shared > _AGREEMENT * spanned), strict=True):
                score = float(min(pieces.scores[first[row]], pieces.scores[second[column]]))
                yield _Pair(score, int(first[row]), int(second[column]), high)


def _together(first: FoundInViews, second: FoundInViews) -> FoundInViews:
    return FoundInViews(
        np.concatenate((first.boxes_xyxy_px, second.boxes_xyxy_px)),
        np.concatenate((first.scores, second.scores)),
        np.concatenate((first.class_ids, second.class_ids)),
        np.concatenate((first.views, second.views)),
    )
