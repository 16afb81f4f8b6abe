"""The scenes of the embedded data set: backgrounds, clutter, and objects that throw shadows and overlap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.data.synthetic_shapes import CLASS_NAMES, Drawn, covered, draw_object

if TYPE_CHECKING:
    from vedette.core.types import Image, IntArray, SizeHW

BACKGROUND_SHARE: Final = 0.08
MAX_OBJECTS: Final = 6
MIN_SIZE: Final = 0.15
"""Smallest object, as a fraction of the shorter side of the picture."""
MAX_SIZE: Final = 0.6
"""Largest object, likewise."""
MIN_VISIBLE: Final = 0.4
"""An object of which less could be seen, because of others or the edge, is not placed."""
_TRIES: Final = 8

Canvas = NDArray[np.float32]
"""RGB 0..255, [H, W, 3]."""
Field = NDArray[np.float32]
"""One number a pixel, [H, W]."""

# Grounds that things may lie on: sand, clay, wood, moss, mint, sky, slate, lilac, concrete, paper.
_GROUNDS: Final = (
    (214, 196, 160),
    (186, 132, 106),
    (168, 128, 88),
    (124, 140, 96),
    (168, 204, 184),
    (158, 190, 214),
    (92, 108, 124),
    (178, 168, 198),
    (150, 150, 146),
    (232, 228, 216),
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: RGB uint8 [H, W, 3].
        boxes_xyxy_px: int64 [M, 4], around the visible pixels of each object, right and bottom exclusive.
        class_ids: int64 [M], into ``CLASS_NAMES``.
    """

    image: Image
    boxes_xyxy_px: IntArray
    class_ids: IntArray


def draw_scene(random: np.random.Generator, size_hw: SizeHW) -> Scene:
    """Draw one scene; about 8 in 100 hold no object."""
    canvas = _background(random, size_hw)
    for _ in range(random.integers(2, 7)):
        _add_clutter(canvas, random)
    owner = np.zeros(size_hw, dtype=np.int32)
    class_ids: list[int] = []
    if random.random() >= BACKGROUND_SHARE:
        _add_objects(canvas, owner, class_ids, random)
    _finish(canvas, random)
    boxes = [_extent(owner == number) for number in range(1, len(class_ids) + 1)]
    return Scene(
        np.asarray(cv2.convertScaleAbs(np.maximum(canvas, 0)), dtype=np.uint8),
        np.array(boxes, dtype=np.int64).reshape(-1, 4),
        np.array(class_ids, dtype=np.int64),
    )


def _add_objects(
    canvas: Canvas, owner: NDArray[np.int32], class_ids: list[int], random: np.random.Generator
) -> None:
    """Place objects one over the other. ``owner`` says for every pixel which object it shows, from 1; 0 none."""
    height, width = owner.shape
    areas = _Areas()
    for _ in range(1 + int(MAX_OBJECTS * random.random())):
        class_id = int(random.integers(len(CLASS_NAMES)))
        size = min(height, width) * MIN_SIZE * (MAX_SIZE / MIN_SIZE) ** float(random.random())
        drawn = draw_object(class_id, size, random)
        for _ in range(_TRIES):
            reach = size * 0.3  # the middle may come this close to the edge
            centre = random.uniform((reach, reach), (height - reach, width - reach))
            window = _place(drawn, centre, (height, width))
            if areas.add_if_visible(drawn, covered(drawn.alpha[window.patch]), owner[window.picture]):
                class_ids.append(class_id)
                _paste(canvas, window, drawn)
                break


class _Areas:
    """Area of every object placed so far, whole and still visible; index 0 is the background."""

    def __init__(self) -> None:
        self._whole = np.zeros(1, dtype=np.int64)
        self._visible = np.zeros(1, dtype=np.int64)

    def add_if_visible(self, drawn: Drawn, mask: NDArray[np.bool_], owner: NDArray[np.int32]) -> bool:
        """Enter a new object into ``owner``, unless too little of it or of one below it would be seen."""
        whole, visible = int(covered(drawn.alpha).sum()), int(mask.sum())
        left = self._visible - np.bincount(owner[mask], minlength=len(self._visible))
        if visible < MIN_VISIBLE * whole or (left < MIN_VISIBLE * self._whole)[1:].any():
            return False
        owner[mask] = len(left)
        self._whole = np.append(self._whole, whole)
        self._visible = np.append(left, visible)
        return True


@dataclass(frozen=True, slots=True)
class _Window:
    """Where a patch lies in the picture, and which part of the patch that is."""

    picture: tuple[slice, slice]
    patch: tuple[slice, slice]


def _place(drawn: Drawn, centre: NDArray[np.float64], size_hw: SizeHW) -> _Window:
    """Where a patch goes whose middle is at ``centre`` (y, x) inside the picture."""
    side = drawn.alpha.shape[0]
    picture, patch = [], []
    for middle, length in zip(centre.tolist(), size_hw, strict=True):
        start = round(middle - side / 2)
        low, high = max(start, 0), min(start + side, length)
        picture.append(slice(low, high))
        patch.append(slice(low - start, high - start))
    return _Window((picture[0], picture[1]), (patch[0], patch[1]))


def _paste(canvas: Canvas, window: _Window, drawn: Drawn) -> None:
    _shadow(canvas, window, drawn, max(1, drawn.alpha.shape[0] // 24))
    alpha = _as_rgb(drawn.alpha[window.patch])
    under = canvas[window.picture]
    under += alpha * (drawn.colour[window.patch] - under)


def _shadow(canvas: Canvas, window: _Window, drawn: Drawn, offset: int) -> None:
    """Darken what lies beside the object, away from the light."""
    moved = np.zeros_like(drawn.alpha)
    moved[2 * offset :, offset:] = drawn.alpha[: -2 * offset, :-offset]
    blur = 2 * offset + 1
    moved = np.asarray(cv2.blur(moved, (blur, blur)), dtype=np.float32)
    canvas[window.picture] *= _as_rgb(1 - np.float32(0.45) * moved[window.patch])


def _extent(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _background(random: np.random.Generator, size_hw: SizeHW) -> Canvas:
    """A ground of soft colour with one of several textures, float32 RGB 0..255."""
    height, width = size_hw
    ground = _ground_colour(random)
    corners = ground + random.uniform(-22, 22, (2, 2, 1)).astype(np.float32)
    canvas = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
    tone = 1 + _noise(random, size_hw, int(random.integers(20, 70)), float(random.uniform(0.01, 0.035)))
    texture = random.integers(5)
    if texture == 0:
        tone *= _boards(random, size_hw)
    elif texture == 1:  # tiles
        side = int(random.integers(24, 64))
        rows, columns = np.arange(height) // side, np.arange(width) // side
        odd = ((rows[:, None] + columns[None, :]) % 2).astype(np.float32)
        tone -= np.float32(random.uniform(0.05, 0.14)) * odd
    elif texture == 2:  # squared paper
        step = int(random.integers(14, 32))
        tone[::step] *= 0.9
        tone[:, ::step] *= 0.9
    elif texture == 3:  # cloudy
        tone += _noise(random, size_hw, 5, 0.12) + _noise(random, size_hw, 12, 0.06)
    return np.asarray(canvas * _as_rgb(tone), dtype=np.float32)


def _boards(random: np.random.Generator, size_hw: SizeHW) -> NDArray[np.float32]:
    """Wooden boards, across or upright: tone of each, grain along it, dark joints."""
    across = random.random() < 0.5
    length, depth = size_hw if across else size_hw[::-1]
    board = int(random.integers(28, 70))
    number = np.arange(length) // board
    tone = random.uniform(0.88, 1.06, int(number[-1]) + 1)[number]
    tone[np.arange(length) % board == 0] *= 0.7
    grain = random.normal(0, 0.05, (length, max(depth // 24, 2))).astype(np.float32)
    grain = np.asarray(cv2.resize(grain, (depth, length), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    field = tone[:, None].astype(np.float32) + grain
    return field if across else np.ascontiguousarray(field.T)


def _noise(random: np.random.Generator, size_hw: SizeHW, cells: int, strength: float) -> Field:
    """Smooth noise of about ``cells`` lumps across: [H, W]."""
    lumps = random.normal(0, strength, (cells, cells)).astype(np.float32)
    grown = cv2.resize(lumps, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(grown, dtype=np.float32)


def _add_clutter(canvas: Canvas, random: np.random.Generator) -> None:
    """Things that are none of the classes: lines, scribbles, blobs, cast light. Drawn in place."""
    height, width = canvas.shape[:2]
    colour = tuple(float(value) for value in _ground_colour(random) * random.uniform(0.4, 1.1))
    kind = random.integers(4)
    if kind == 0:  # line or stick
        ends = np.round(random.uniform((0, 0), (width, height), (2, 2))).astype(int)
        thickness = int(random.integers(1, max(2, height // 60)))
        cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), colour, thickness, cv2.LINE_AA)
    elif kind == 1:  # scribble
        start = random.uniform((0, 0), (width, height))
        steps = np.cumsum(random.normal(0, height / 25, (14, 2)), axis=0)
        points = np.round((start + steps) * 16).astype(np.int32)
        cv2.polylines(canvas, [points], False, colour, int(random.integers(1, 4)), cv2.LINE_AA, 4)
    elif kind == 2:  # pebble: a lump without corners, not round
        points = _lump(random, (height, width))
        cv2.fillPoly(canvas, [points], colour, cv2.LINE_AA, 4)
        cv2.polylines(canvas, [points], True, tuple(0.75 * value for value in colour), 1, cv2.LINE_AA, 4)
    else:  # a beam of light or shade
        corners = random.uniform((-width / 2, -height / 2), (1.5 * width, 1.5 * height), (4, 2))
        mask = np.zeros((height, width), dtype=np.float32)
        cv2.fillConvexPoly(mask, np.round(corners).astype(np.int32), 1.0)
        mask = np.asarray(cv2.blur(mask, (9, 9)), dtype=np.float32)
        canvas *= _as_rgb(1 + mask * np.float32(random.uniform(-0.15, 0.12)))


def _lump(random: np.random.Generator, size_hw: SizeHW) -> NDArray[np.int32]:
    height, width = size_hw
    angles = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    radius = (
        1
        + 0.22 * np.cos(2 * angles + random.uniform(0, 6))
        + 0.12 * np.cos(3 * angles + random.uniform(0, 6))
    )
    size = random.uniform(height / 60, height / 9)
    centre = random.uniform((0, 0), (width, height))
    stretch = np.array([random.uniform(1.3, 2.0), 1.0])
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] * size * stretch
    return np.asarray(np.round((points + centre) * 16), dtype=np.int32)


def _ground_colour(random: np.random.Generator) -> NDArray[np.float32]:
    colour = np.array(_GROUNDS[int(random.integers(len(_GROUNDS)))], dtype=np.float32)
    return np.asarray(colour * random.uniform(0.75, 1.08) + random.normal(0, 6, 3), dtype=np.float32)


def _finish(canvas: Canvas, random: np.random.Generator) -> None:
    """Vignette, exposure, and the grain of a sensor, in place."""
    height, width = canvas.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = np.float32(random.uniform(0.85, 1.08)) * (
        1 - np.float32(random.uniform(0.0, 0.14)) * (x * x + y * y)
    )
    canvas *= _as_rgb(light)
    canvas += _as_rgb(
        random.standard_normal((height, width), dtype=np.float32) * np.float32(random.uniform(0.5, 4))
    )


def _as_rgb(field: Field) -> Canvas:
    """The same number for three channels; multiplying equal shapes is several times as fast as broadcasting."""
    return np.asarray(cv2.cvtColor(field, cv2.COLOR_GRAY2RGB), dtype=np.float32)
