"""Several pictures in one: where the tiles of a mosaic lie, how they get into the output, and mix-up.

A mosaic is thought of as a canvas of twice the output size (data.md, section 8). :func:`plain_compose` really
builds it and then warps it; :func:`compose` warps every tile straight into its part of the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.augment.buffers import Buffers
from vedette.augment.geometric import AffineChoice, Corners, Matrix, affine_matrix, warp_points
from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.resample import channel_groups

if TYPE_CHECKING:
    from vedette.core.types import Image, SizeHW

MOSAIC_TILES: Final = 4
MOSAIC_DRAWS: Final = 2 + MOSAIC_TILES - 1
MIXUP_SHAPE: Final = 8
MIXUP_DRAWS: Final = 2 * MIXUP_SHAPE
BACKGROUND: Final = 114


@dataclass(frozen=True, slots=True)
class MosaicChoice:
    """Where the four tiles meet, in canvas pixels, and the pictures beside the first, by number."""

    centre_yx: tuple[int, int]
    partners: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of a picture and the rectangle of the same size that it fills on the canvas."""

    on_canvas: Corners
    in_picture: Corners

    @property
    def shift_xy(self) -> tuple[int, int]:
        """What is added to picture coordinates to get canvas coordinates."""
        return self.on_canvas[0] - self.in_picture[0], self.on_canvas[1] - self.in_picture[1]


@dataclass(frozen=True, slots=True)
class PlacedPicture:
    """A tile and how to get its picture; asked for only if part of it is visible."""

    tile: Tile
    fetch: Callable[[], Image]


@dataclass(frozen=True, slots=True)
class Composed:
    """What tiles have become.

    Attributes:
        image: RGBX uint8 [H, W, 4]; of another picture format [H, W, channels].
        windows: rectangles that do not overlap; outside of them all is background.
    """

    image: Image
    windows: list[Corners]

    def mixed_with(self, other: Composed, ratio: float) -> Composed:
        """See :func:`mix`."""
        height, width = self.image.shape[:2]
        return Composed(mix(self.image, other.image, ratio), [(0, 0, width, height)])


def choose_mosaic(uniform: NDArray[np.float64], size_hw: SizeHW, pictures: int) -> MosaicChoice:
    """Turn ``MOSAIC_DRAWS`` numbers in [0, 1) into a centre (y first) and three partners, with replacement."""
    height, width = size_hw
    centre = (int(height / 2 + float(uniform[0]) * height), int(width / 2 + float(uniform[1]) * width))
    return MosaicChoice(centre, tuple(pick(float(draw), pictures) for draw in uniform[2:MOSAIC_DRAWS]))


def pick(uniform: float, pictures: int) -> int:
    """A picture number 0..pictures-1 from a number in [0, 1)."""
    return min(int(uniform * pictures), pictures - 1)


def choose_mixup_ratio(uniform: NDArray[np.float64]) -> float:
    """A draw of Beta(8, 8) from ``MIXUP_DRAWS`` numbers in [0, 1).

    Gamma(8) is the sum of eight exponential draws; the quotient of two such sums is Beta(8, 8). This takes a
    fixed count of numbers and does not depend on the sampler of a numpy version.
    """
    exponential = -np.log1p(-uniform[:MIXUP_DRAWS])
    first, second = exponential[:MIXUP_SHAPE].sum(), exponential[MIXUP_SHAPE:].sum()
    return float(first / (first + second)) if first + second > 0 else 0.5


def canvas_hw_of(size_hw: SizeHW) -> SizeHW:
    """Size of the mosaic canvas for an output size."""
    return 2 * size_hw[0], 2 * size_hw[1]


def place_tiles(centre_yx: tuple[int, int], tiles_hw: Sequence[SizeHW], canvas_hw: SizeHW) -> list[Tile]:
    """Where tiles of these sizes lie: top left, top right, bottom left, bottom right of the centre.

    Each touches the centre with its nearest corner; what would leave the canvas is cut off.
    """
    centre_y, centre_x = centre_yx
    canvas_h, canvas_w = canvas_hw
    tiles = []
    for number, (height, width) in enumerate(tiles_hw):
        left, upper = number % 2 == 0, number < 2
        x1, x2 = (max(centre_x - width, 0), centre_x) if left else (centre_x, min(centre_x + width, canvas_w))
        y1, y2 = (
            (max(centre_y - height, 0), centre_y) if upper else (centre_y, min(centre_y + height, canvas_h))
        )
        source_x = width - (x2 - x1) if left else 0
        source_y = height - (y2 - y1) if upper else 0
        tiles.append(Tile((x1, y1, x2, y2), (source_x, source_y, source_x + x2 - x1, source_y + y2 - y1)))
    return tiles


def plain_compose(
    pictures: Sequence[PlacedPicture],
    choice: AffineChoice,
    canvas_hw: SizeHW,
    output_hw: SizeHW,
    picture_format: PictureFormat = RGB8,
) -> Image:
    """Paste the tiles on a canvas and warp it, as published: a picture of ``output_hw``.

    Channels of other pictures than 8-bit RGB are warped one by one.
    """
    grey = picture_format.grey(BACKGROUND)
    canvas = np.full((*canvas_hw, picture_format.channels), grey, dtype=picture_format.dtype)
    for picture in pictures:
        x1, y1, x2, y2 = picture.tile.on_canvas
        canvas[y1:y2, x1:x2] = _crop(picture.fetch(), picture.tile.in_picture)
    matrix = affine_matrix(choice, canvas_hw, output_hw)
    if canvas_hw == output_hw and np.array_equal(matrix, np.eye(3)):
        return canvas
    size_wh = (output_hw[1], output_hw[0])
    warp: Callable[..., Any] = cv2.warpPerspective if choice.projective else cv2.warpAffine
    used = matrix if choice.projective else matrix[:2]
    if picture_format == RGB8:
        rgb: Image = warp(canvas, used, size_wh, borderValue=(grey,) * 3)
        return rgb
    planes = [np.ascontiguousarray(canvas[..., channel]) for channel in range(picture_format.channels)]
    return np.stack([warp(plane, used, size_wh, borderValue=grey) for plane in planes], axis=2)


def compose(  # noqa: PLR0913  # what is shown, where, and in which memory
    pictures: Sequence[PlacedPicture],
    choice: AffineChoice,
    canvas_hw: SizeHW,
    output_hw: SizeHW,
    buffers: Buffers | None = None,
    name: str = "scene",
    *,
    picture_format: PictureFormat = RGB8,
) -> Composed:
    """The same as :func:`plain_compose` without a canvas.

    Every tile is warped once, into the part of the output that it covers; tiles that end up outside are not
    even fetched. The output of 8-bit RGB has a fourth channel without meaning: OpenCV warps four channels in half the
    time of three.

    Equal to the plain twin up to rounding, except for the pixel or two next to the edge of a tile, where the
    twin interpolates between neighbours and this function extends each tile by its own edge.

    Args:
        pictures: the tiles.
        choice: how the canvas is moved.
        canvas_hw: size of the canvas.
        output_hw: size of the result.
        buffers: scratch memory; the result lies in it, under ``name``.
        name: see ``buffers``.
        picture_format: of the pictures.
    """
    buffers = buffers or Buffers()
    matrix = affine_matrix(choice, canvas_hw, output_hw)
    channels = 4 if picture_format == RGB8 else picture_format.channels
    output = buffers.take(name, (*output_hw, channels), picture_format.dtype)
    output.fill(picture_format.grey(BACKGROUND))
    if choice.projective or matrix[0, 1] != 0.0 or matrix[1, 0] != 0.0:
        for picture in pictures:
            _warp_turned(picture, matrix, choice.projective, output, buffers)
        return Composed(output, [(0, 0, output_hw[1], output_hw[0])])
    zoom_x, zoom_y, shift_x, shift_y = matrix[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()
    windows = [
        _warp_upright(picture, (zoom_x, zoom_y), (shift_x, shift_y), output, buffers) for picture in pictures
    ]
    return Composed(output, [window for window in windows if window is not None])


def mix(first: Image, second: Image, ratio: float) -> Image:
    """``ratio`` of the first and the rest of the second picture, rounded down."""
    # OpenCV rounds to nearest; a little less than half a level off keeps exact whole numbers whole.
    mixed: Image = cv2.addWeighted(first, ratio, second, 1.0 - ratio, -0.499)  # type: ignore[assignment]
    return mixed.reshape(first.shape)  # OpenCV drops the axis of a single channel


def _crop(image: Image, corners: Corners) -> Image:
    x1, y1, x2, y2 = corners
    return image[y1:y2, x1:x2]


def _warp_upright(
    picture: PlacedPicture,
    zoom_xy: tuple[float, float],
    shift_xy: tuple[float, float],
    output: Image,
    buffers: Buffers,
) -> Corners | None:
    """Zoom and shift only: every window is filled whole, and those of neighbouring tiles join.

    Pixel centres are whole numbers, so a tile of pixels x1..x2-1 covers x1 - 0.5 to x2 - 0.5.

    Returns:
        The window, or None if nothing of the tile is visible.
    """
    (zoom_x, zoom_y), (shift_x, shift_y) = zoom_xy, shift_xy
    x1, y1, x2, y2 = picture.tile.on_canvas
    left = max(math.ceil(zoom_x * (x1 - 0.5) + shift_x), 0)
    top = max(math.ceil(zoom_y * (y1 - 0.5) + shift_y), 0)
    right = min(math.ceil(zoom_x * (x2 - 0.5) + shift_x), output.shape[1])
    bottom = min(math.ceil(zoom_y * (y2 - 0.5) + shift_y), output.shape[0])
    if x2 <= x1 or y2 <= y1 or right <= left or bottom <= top:
        return None
    # The part of the tile that the window shows, and one pixel around it for interpolation.
    part_x1 = max(x1, math.floor((left - shift_x) / zoom_x) - 1)
    part_y1 = max(y1, math.floor((top - shift_y) / zoom_y) - 1)
    part_x2 = min(x2, math.floor((right - shift_x) / zoom_x) + 2)
    part_y2 = min(y2, math.floor((bottom - shift_y) / zoom_y) + 2)
    tile_x, tile_y = picture.tile.shift_xy
    part = picture.fetch()[part_y1 - tile_y : part_y2 - tile_y, part_x1 - tile_x : part_x2 - tile_x]
    into_window = np.array(
        [
            (zoom_x, 0.0, zoom_x * part_x1 + shift_x - left),
            (0.0, zoom_y, zoom_y * part_y1 + shift_y - top),
        ]
    )
    target = output[top:bottom, left:right]
    _warp(_widened(part, output, buffers), into_window, target, cv2.BORDER_REPLICATE)
    return left, top, right, bottom


def _warp_turned(
    picture: PlacedPicture, matrix: Matrix, projective: bool, output: Image, buffers: Buffers
) -> None:
    """Rotation, shear or perspective: the window around the turned tile; pixels outside the tile are left alone.

    The tile is extended by one pixel of its own edge, so that no line of background shows between neighbours.
    """
    window = _window(picture.tile.on_canvas, matrix, projective, (output.shape[0], output.shape[1]))
    if window is None:
        return
    left, top, right, bottom = window
    x1, y1, _, _ = picture.tile.on_canvas
    part = _widened(_crop(picture.fetch(), picture.tile.in_picture), output, buffers)
    to_window = _into_window(matrix, (x1 - 1, y1 - 1), (left, top))
    used = to_window if projective else to_window[:2]
    _warp(_bordered(part), used, output[top:bottom, left:right], cv2.BORDER_TRANSPARENT)


def _widened(part: Image, output: Image, buffers: Buffers) -> Image:
    """A part of a picture with as many channels as the output; 8-bit RGB gets a fourth."""
    if part.shape[2] == output.shape[2]:
        return part
    wide = buffers.take("part", (*part.shape[:2], 4), np.dtype(np.uint8))
    cv2.cvtColor(part, cv2.COLOR_RGB2RGBA, dst=wide)
    return wide


def _bordered(part: Image) -> Image:
    """The part with a pixel more of its own edge on all sides."""
    height, width, channels = part.shape
    if channels > 4:
        return np.pad(part, ((1, 1), (1, 1), (0, 0)), mode="edge")
    bordered: Image = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    return bordered.reshape(height + 2, width + 2, channels)


def _warp(part: Image, matrix: Matrix, target: Image, border: int) -> None:
    """Fill a window of the output; a matrix of three rows is a perspective."""
    warp: Callable[..., object] = cv2.warpPerspective if len(matrix) == 3 else cv2.warpAffine
    size_wh = (target.shape[1], target.shape[0])
    groups = channel_groups(target.shape[2])
    if len(groups) == 1:
        warp(part, matrix, size_wh, dst=target, borderMode=border)
        return
    for group in groups:
        window = np.ascontiguousarray(target[..., group])
        warp(np.ascontiguousarray(part[..., group]), matrix, size_wh, dst=window, borderMode=border)
        target[..., group] = window


def _window(on_canvas: Corners, matrix: Matrix, projective: bool, output_hw: SizeHW) -> Corners | None:
    """The output pixels around a turned tile; None if there are none."""
    x1, y1, x2, y2 = on_canvas
    if x2 <= x1 or y2 <= y1:
        return None
    corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], dtype=np.float64) - 0.5
    if projective and (corners @ matrix[2, :2] + matrix[2, 2]).min() <= 0:  # reaches behind the viewer
        return 0, 0, output_hw[1], output_hw[0]
    mapped_x, mapped_y = warp_points(corners, matrix, projective).T.tolist()
    left, right = max(math.ceil(min(mapped_x)), 0), min(math.ceil(max(mapped_x)), output_hw[1])
    top, bottom = max(math.ceil(min(mapped_y)), 0), min(math.ceil(max(mapped_y)), output_hw[0])
    return (left, top, right, bottom) if left < right and top < bottom else None


def _into_window(matrix: Matrix, part_xy: tuple[int, int], window_xy: tuple[int, int]) -> Matrix:
    """``matrix`` for coordinates that count from the part of the canvas and from the window of the output."""
    into: Matrix = matrix.copy()
    into[:, 2] += matrix[:, 0] * part_xy[0] + matrix[:, 1] * part_xy[1]
    into[0] -= window_xy[0] * into[2]
    into[1] -= window_xy[1] * into[2]
    return into
