"""The colours of everything that is drawn: for any kind of colour vision, and legible under black or white text.

The seven hues are Okabe and Ito's ("Color Universal Design", 2008). Pictures take them as RGB bytes, plots as
``#rrggbb``; both take them from here, so that blue on a picture is the blue of a curve.
"""

from __future__ import annotations

from typing import Final

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""

ORANGE: Final[Colour] = (230, 159, 0)
SKY: Final[Colour] = (86, 180, 233)
GREEN: Final[Colour] = (0, 158, 115)
YELLOW: Final[Colour] = (240, 228, 66)
BLUE: Final[Colour] = (0, 114, 178)
VERMILION: Final[Colour] = (213, 94, 0)
PURPLE: Final[Colour] = (204, 121, 167)
BLACK: Final[Colour] = (0, 0, 0)
WHITE: Final[Colour] = (255, 255, 255)
GREY: Final[Colour] = (150, 150, 150)

CLASS_HUES: Final[tuple[Colour, ...]] = (ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE)
"""Of the first seven classes."""

# Shades for classes beyond seven: as they are, then mixed with white, then with black.
_SHADES: tuple[tuple[int, float], ...] = ((0, 0.0), (255, 0.45), (0, 0.4))

DISTINCT_CLASSES: Final = len(CLASS_HUES) * len(_SHADES)
"""Classes with a colour of their own; after that they repeat."""


def class_colour(class_id: int) -> Colour:
    """The colour of a class: seven hues for any eyes, in three shades; then they repeat."""
    hue = CLASS_HUES[class_id % len(CLASS_HUES)]
    target, share = _SHADES[class_id // len(CLASS_HUES) % len(_SHADES)]
    red, green, blue = (round(value + (target - value) * share) for value in hue)
    return red, green, blue


def track_colour(track_id: int) -> Colour:
    """The colour of a tracked object, from 1; as many different ones as for classes. Grey for none."""
    return class_colour(track_id - 1) if track_id >= 1 else GREY


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more."""
    return BLACK if contrast(BLACK, background) > contrast(WHITE, background) else WHITE


def contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio of WCAG 2, 1..21."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def hexadecimal(colour: Colour) -> str:
    """``#rrggbb``, as plots and pages take it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _luminance(colour: Colour) -> float:
    """Relative luminance of WCAG 2, 0..1."""
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
