"""Fonts for text on pictures: one that has the letters of the names, and what a text measures in it."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from PIL import ImageFont

from vedette.core.printable import printable
from vedette.errors import UsageError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Fonts that systems commonly have, tried in this order for names the built-in font has no letters for.
_SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "segoeui.ttf",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
)
_UNASSIGNED = "\U000fffff"


@functools.lru_cache(maxsize=32)
def font_for(names: tuple[str, ...], font_file: str, size: int) -> tuple[Font, frozenset[str]]:
    """A font and those of ``names`` it has all letters for: the given one, or the best of built-in and system."""
    if font_file:
        try:
            given = ImageFont.truetype(font_file, size)
        except OSError as error:
            raise UsageError(f"the font cannot be read ({error})", where=f"--font {font_file}") from None
        return given, _drawable(names, given)
    best = ImageFont.load_default(size)
    covered = _drawable(names, best)
    for name in _SYSTEM_FONTS:
        if len(covered) == len(names):
            break
        try:
            font = ImageFont.truetype(name, size)
        except OSError:
            continue
        also_covered = _drawable(names, font)
        if len(also_covered) > len(covered):
            best, covered = font, also_covered
    return best, covered


def _drawable(names: Sequence[str], font: Font) -> frozenset[str]:
    """The names of which the font has every letter: none looks like the sign for a missing one."""
    missing = bytes(font.getmask(_UNASSIGNED))
    return frozenset(
        name
        for name in names
        if all(sign.isspace() or bytes(font.getmask(sign)) != missing for sign in set(printable(name)))
    )


def shortened(text: str, font: Font, room: float) -> str:
    """The text, or as much of its start as fits, with an ellipsis; "" if not even that fits."""
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "…") <= room else (low, middle - 1)
    return text[:low] + "…" if low else ""


def line_metrics(font: Font, size: int) -> tuple[int, int]:
    """Pixels above and below the baseline; ``size`` is what the font was made with."""
    if isinstance(font, ImageFont.FreeTypeFont):
        ascent, descent = font.getmetrics()
        return ascent, descent
    return size, 0
