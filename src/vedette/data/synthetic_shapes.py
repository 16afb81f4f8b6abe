"""The objects of the embedded data set: six solid things with shading, texture and outline, drawn at any angle.

Every function that draws takes its random generator; sizes are in pixels.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

CLASS_NAMES: Final = ("ball", "crate", "star", "cross", "cone", "ring")
_HUES: Final = (0.60, 0.08, 0.15, 0.0, 0.80, 0.40)
"""Usual hue of each class, 0..1."""
_ODD_COLOURS: Final = 0.12

_SHOWN: Final = 0.25
# OpenCV takes polygon corners in 1/16 pixel.
_SHIFT: Final = 4
_LIGHT: Final = (-0.6, -0.8)  # where the light comes from, as a direction in the picture

Points = NDArray[np.float64]
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One object on a patch of its own.

    Attributes:
        colour: float32 [S, S, 3], RGB 0..255.
        alpha: float32 [S, S], 0..1: how much of a pixel the object covers.
    """

    colour: NDArray[np.float32]
    alpha: NDArray[np.float32]


@dataclass(slots=True)
class _Patch:
    """A square to draw on; coordinates are -1..1 of the object's half size, before it is turned."""

    side: int
    half: float
    angle: float
    colour: NDArray[np.uint8]
    alpha: NDArray[np.uint8]

    def to_pixels(self, points: Points) -> NDArray[np.int32]:
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        turned = points @ np.array([[cosine, sine], [-sine, cosine]])
        pixels: NDArray[np.float64] = (turned * self.half + (self.side - 1) / 2) * 2**_SHIFT
        return np.round(pixels).astype(np.int32)

    def outline(self, points: Points, value: int = 255) -> None:
        """Add to (or, with 0, take from) what the object covers."""
        cv2.fillPoly(self.alpha, [self.to_pixels(points)], value, cv2.LINE_AA, _SHIFT)

    def fill(self, points: Points, colour: Colour) -> None:
        """Paint part of the object."""
        cv2.fillPoly(self.colour, [self.to_pixels(points)], colour, cv2.LINE_AA, _SHIFT)

    def stroke(self, points: Points, colour: Colour, width: float, closed: bool = True) -> None:
        """Paint a line; ``width`` as a fraction of the half size."""
        thickness = max(1, round(width * self.half))
        cv2.polylines(self.colour, [self.to_pixels(points)], closed, colour, thickness, cv2.LINE_AA, _SHIFT)


def draw_object(class_id: int, size: float, random: np.random.Generator) -> Drawn:
    """An object whose longer extent is about ``size`` pixels, in random colours and at a random angle."""
    half = size / 2
    side = 2 * math.ceil(half * 1.5) + 3
    base = _typical_colour(class_id, random)
    patch = _Patch(
        side,
        half,
        float(random.uniform(-math.pi, math.pi)),
        np.empty((side, side, 3), dtype=np.uint8),
        np.zeros((side, side), dtype=np.uint8),
    )
    patch.colour[...] = np.round(base).astype(np.uint8)
    _DRAW[CLASS_NAMES[class_id]](patch, base, random)
    shading = _SHADE.get(CLASS_NAMES[class_id], _shade_flat)(patch)
    colour = patch.colour.astype(np.float32) * np.asarray(cv2.cvtColor(shading, cv2.COLOR_GRAY2RGB))
    return Drawn(np.minimum(colour, np.float32(255)), patch.alpha.astype(np.float32) / np.float32(255))


def _ball(patch: _Patch, base: Colour, random: np.random.Generator) -> None:
    patch.outline(_ellipse())
    second, third = _colour(random), (245.0, 243.0, 238.0)
    style = random.integers(3)
    if style == 0:  # beach ball: six segments
        for segment in range(6):
            angles = np.linspace(segment, segment + 1, 8) * math.pi / 3
            edge = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 1.1
            centre = np.array([[0.15, -0.2]])
            patch.fill(np.concatenate([centre, edge]), (base, third, second)[segment % 3])
        patch.fill(_ellipse(0.16) + np.array([0.15, -0.2]), third)
    elif style == 1:  # a band around it
        patch.fill(_rectangle(1.2, float(random.uniform(0.18, 0.35))), second)
    else:  # dots
        for _ in range(7):
            x, y = random.uniform(-0.8, 0.8, 2)
            patch.fill(_ellipse(0.17) + np.array([x, y]), third)
    patch.stroke(_ellipse(), _darker(base), 0.06)


def _crate(patch: _Patch, base: Colour, random: np.random.Generator) -> None:
    width, height = 0.92, float(random.uniform(0.62, 0.92))
    body = _rectangle(width, height)
    patch.outline(body)
    for plank in range(4):  # planks of slightly different tone
        tone = float(random.uniform(0.86, 1.12))
        low = -height + plank * height / 2
        corners = np.array(
            [(-width, low), (width, low), (width, low + height / 2), (-width, low + height / 2)]
        )
        patch.fill(corners, _scaled(base, tone))
        patch.stroke(corners[:2], _darker(base), 0.035, closed=False)
    dark = _darker(base)
    if random.random() < 0.5:
        patch.stroke(np.array([(-width, -height), (width, height)]), dark, 0.16, closed=False)
        patch.stroke(np.array([(-width, height), (width, -height)]), dark, 0.16, closed=False)
    patch.stroke(body * 0.9, _scaled(base, 0.72), 0.2)
    patch.stroke(body, _darker(dark), 0.05)


def _star(patch: _Patch, base: Colour, random: np.random.Generator) -> None:
    angles = np.arange(10) * math.pi / 5 - math.pi / 2
    radius = np.where(np.arange(10) % 2 == 0, 1.0, float(random.uniform(0.4, 0.5)))
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
    patch.outline(corners)
    for tip in range(5):  # every arm has a lit and a shaded side
        left, point, right = corners[2 * tip - 1], corners[2 * tip], corners[(2 * tip + 1) % 10]
        patch.fill(np.array([(0.0, 0.0), left, point]), _scaled(base, 1.12))
        patch.fill(np.array([(0.0, 0.0), right, point]), _scaled(base, 0.82))
    patch.stroke(corners, _darker(base), 0.05)


def _cross(patch: _Patch, base: Colour, random: np.random.Generator) -> None:
    arm = float(random.uniform(0.26, 0.36))
    x = np.array([-arm, arm, arm, 1, 1, arm, arm, -arm, -arm, -1, -1, -arm])
    y = np.array([-1, -1, -arm, -arm, arm, arm, 1, 1, arm, arm, -arm, -arm])
    corners = np.stack([x, y], axis=1)
    patch.outline(corners)
    patch.stroke(corners * 0.82, _scaled(base, 1.22), 0.08)
    if random.random() < 0.5:
        patch.fill(_ellipse(arm * 0.6), _colour(random))
    patch.stroke(corners, _darker(base), 0.07)


def _cone(patch: _Patch, base: Colour, random: np.random.Generator) -> None:
    width = float(random.uniform(0.62, 0.85))
    top = np.array([0.0, -1.0])
    corners = np.array([top, (width, 0.9), (-width, 0.9)])
    patch.outline(corners)
    band: Colour = (246.0, 244.0, 240.0) if random.random() < 0.7 else _colour(random)
    for low, high in ((0.3, 0.5), (0.66, 0.86)):  # stripes across
        left, right = corners[2] - top, corners[1] - top
        stripe = np.array([top + left * low, top + right * low, top + right * high, top + left * high])
        patch.fill(stripe, band)
    patch.stroke(corners, _darker(base), 0.06)


def _ring(patch: _Patch, base: Colour, random: np.random.Generator) -> None:
    hole = float(random.uniform(0.45, 0.6))
    patch.outline(_ellipse())
    second = _colour(random) if random.random() < 0.5 else (244.0, 242.0, 238.0)
    parts = int(random.choice([4, 6, 8]))
    for part in range(0, parts, 2):
        angles = np.linspace(part, part + 1, 8) * 2 * math.pi / parts
        edge = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        patch.fill(np.concatenate([edge * 1.1, edge[::-1] * hole * 0.9]), second)
    patch.stroke(_ellipse(), _darker(base), 0.06)
    patch.stroke(_ellipse(hole), _darker(base), 0.06)
    patch.outline(_ellipse(hole), 0)


def _shade_ball(patch: _Patch) -> NDArray[np.float32]:
    """Brightest where the surface faces the light, with a small highlight."""
    x, y = _grid(patch)
    depth = np.sqrt(np.maximum(1 - x * x - y * y, 0))
    facing = (x * _LIGHT[0] + y * _LIGHT[1]) * 0.6 + depth * 0.75
    highlight = np.exp(-((x + 0.38) ** 2 + (y + 0.42) ** 2) / 0.03)
    return np.maximum(0.55 + 0.6 * facing + 0.75 * highlight, 0).astype(np.float32)


def _shade_ring(patch: _Patch) -> NDArray[np.float32]:
    """A tube: bright along its middle, on the side towards the light."""
    x, y = _grid(patch)
    radius = np.sqrt(x * x + y * y)
    across = (radius - 0.76) / 0.26
    tube = np.sqrt(np.maximum(1 - across * across, 0))
    towards = -(x * _LIGHT[0] + y * _LIGHT[1]) / np.maximum(radius, 0.1) * across
    return np.maximum(0.55 + 0.5 * tube - 0.25 * towards, 0).astype(np.float32)


def _shade_flat(patch: _Patch) -> NDArray[np.float32]:
    """A little brighter towards the light."""
    x, y = _grid(patch)
    return np.asarray(1.0 + 0.2 * (x * _LIGHT[0] + y * _LIGHT[1]), dtype=np.float32)


def _grid(patch: _Patch) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Coordinates of the pixels in half sizes, not turned: light does not turn with the object."""
    steps = ((np.arange(patch.side) - (patch.side - 1) / 2) / patch.half).astype(np.float32)
    return steps[None, :], steps[:, None]


_DRAW: Final[dict[str, Callable[[_Patch, Colour, np.random.Generator], None]]] = {
    "ball": _ball,
    "crate": _crate,
    "star": _star,
    "cross": _cross,
    "cone": _cone,
    "ring": _ring,
}
_SHADE: Final[dict[str, Callable[[_Patch], NDArray[np.float32]]]] = {
    "ball": _shade_ball,
    "ring": _shade_ring,
}


def _ellipse(radius: float = 1.0, corners: int = 48) -> Points:
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius


def _rectangle(half_width: float, half_height: float) -> Points:
    signs = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
    corners: Points = signs * np.array([half_width, half_height])
    return corners


def _colour(random: np.random.Generator) -> Colour:
    """A clear colour of any hue."""
    hue, saturation, value = random.random(), random.uniform(0.5, 0.9), random.uniform(0.6, 0.95)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return red * 255, green * 255, blue * 255


def _typical_colour(class_id: int, random: np.random.Generator) -> Colour:
    """Mostly about the hue that things of the class usually have, now and then any."""
    if random.random() < _ODD_COLOURS:
        return _colour(random)
    hue = (_HUES[class_id] + random.uniform(-0.03, 0.03)) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, random.uniform(0.55, 0.9), random.uniform(0.6, 0.95))
    return red * 255, green * 255, blue * 255


def _scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(channel * factor, 255.0) for channel in colour)
    return red, green, blue


def _darker(colour: Colour) -> Colour:
    return _scaled(colour, 0.5)


def covered(alpha: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The pixels that count as showing the object; a quarter is enough, so that sharp tips are not cut off."""
    return np.asarray(alpha > _SHOWN, dtype=np.bool_)
