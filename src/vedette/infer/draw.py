"""Boxes and labels drawn into a picture."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from vedette.core.types import Detections, Image
from vedette.errors import UsageError
from vedette.infer.label_layout import place_labels
from vedette.infer.printable import printable

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Okabe and Ito (2008), "Color Universal Design", without black: told apart with every common colour blindness.
_HUES: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
# Shades for classes beyond seven: as they are, then mixed with white, then with black.
_SHADES: tuple[tuple[int, float], ...] = ((0, 0.0), (255, 0.45), (0, 0.4))

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
)
_UNASSIGNED = "\U000fffff"
_HALO = 0.5
_MANY = 8
_CROWDED = 0.1  # share of the picture that labels may cover before they are made smaller
_OVERSAMPLING = 4


@dataclass(frozen=True, slots=True)
class DrawStyle:
    """How boxes look.

    Attributes:
        line_width: pixels; 0 = fitted to the picture.
        labels: write class names.
        scores: write scores behind the names.
        font: a font file; "" = the built-in font, or one of the system's for letters it lacks.
    """

    line_width: int = 0
    labels: bool = True
    scores: bool = True
    font: str = ""


def draw_detections(image: Image, detections: Detections, style: DrawStyle | None = None) -> Image:
    """A copy of the picture with a box and a label for each detection, the best on top.

    Args:
        image: RGB uint8 [H, W, 3], the picture that the detections are of.
        detections: boxes in its pixels.
        style: line width, labels, font.

    Raises:
        UsageError: the font file cannot be read.
    """
    chosen = style or DrawStyle()
    canvas: Image = image.copy()
    line_width = chosen.line_width or _fitted(image, 0.0036, least=2)
    for number in reversed(range(len(detections))):
        colour = class_colour(int(detections.class_ids[number]))
        _draw_box(canvas, detections.boxes_xyxy_px[number].tolist(), colour, line_width)
    if chosen.labels and len(detections):
        return _draw_labels(canvas, detections, chosen, line_width)
    return canvas


def class_colour(class_id: int) -> Colour:
    """The colour of a class: seven hues for any eyes, in three shades; then they repeat."""
    hue = _HUES[class_id % len(_HUES)]
    target, share = _SHADES[class_id // len(_HUES) % len(_SHADES)]
    red, green, blue = (round(value + (target - value) * share) for value in hue)
    return red, green, blue


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more (relative luminance of WCAG 2)."""
    linear = [
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (channel / 255 for channel in background)
    ]
    luminance: float = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def _fitted(image: Image, share: float, least: int) -> int:
    """A length that grows with the picture: a share of its mean side."""
    height, width = image.shape[:2]
    return max(round(int(height + width) / 2 * share), least)


def _draw_box(canvas: Image, box: Sequence[float], colour: Colour, line_width: int) -> None:
    """A frame of ``line_width`` pixels on the box's edge, and a pixel around it that sets off its colour."""
    x1, y1, x2, y2 = (round(value) for value in box)
    outwards = line_width // 2
    outer = (x1 - outwards, y1 - outwards, max(x2, x1 + 1) + outwards, max(y2, y1 + 1) + outwards)
    halo = np.array(text_colour(colour), dtype=np.float32) * _HALO
    for rows, columns in _ring(canvas, (outer[0] - 1, outer[1] - 1, outer[2] + 1, outer[3] + 1), 1):
        canvas[rows, columns] = (canvas[rows, columns] * (1 - _HALO) + halo).astype(np.uint8)
    for rows, columns in _ring(canvas, outer, line_width):
        canvas[rows, columns] = colour


def _ring(canvas: Image, outer: tuple[int, int, int, int], width: int) -> list[tuple[slice, slice]]:
    """The four bars of a rectangle's edge, disjoint, cut off at the picture's edges."""
    x1, y1, x2, y2 = outer
    top_end = min(y1 + width, y2)
    bottom_start = max(y2 - width, top_end)
    left_end = min(x1 + width, x2)
    right_start = max(x2 - width, left_end)
    bars = (
        (y1, top_end, x1, x2),
        (bottom_start, y2, x1, x2),
        (top_end, bottom_start, x1, left_end),
        (top_end, bottom_start, right_start, x2),
    )
    return [
        (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
        for top, bottom, left, right in bars
    ]


def _draw_labels(canvas: Image, detections: Detections, style: DrawStyle, line_width: int) -> Image:
    labels = _fitting_labels(canvas, detections, style)
    outwards = line_width // 2
    edges = detections.boxes_xyxy_px + np.array([-outwards, -outwards, outwards, outwards], dtype=np.float32)
    sizes = np.array([(width, labels.height) for width in labels.widths], dtype=np.int64)
    places, shown = place_labels(edges, sizes, (canvas.shape[0], canvas.shape[1]))
    picture = Pillow.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for number in np.flatnonzero(shown)[::-1]:
        if not labels.texts[number]:
            continue
        left, top, right, bottom = (int(value) for value in places[number])
        colour = class_colour(int(detections.class_ids[number]))
        picture.paste(colour, (left, top), _plate(right - left, bottom - top, max(labels.height // 6, 1)))
        start = (left + labels.padding, top + labels.baseline)
        draw.text(start, labels.texts[number], text_colour(colour), labels.font, anchor="ls")
    return np.array(picture)


@dataclass(frozen=True, slots=True)
class _Labels:
    """Texts with their measures in pixels; ``baseline`` is below the label's top."""

    texts: list[str]
    widths: list[int]
    height: int
    baseline: int
    padding: int
    font: Font


def _fitting_labels(canvas: Image, detections: Detections, style: DrawStyle) -> _Labels:
    """Labels that leave the picture to be seen: in a crowd smaller ones, then names without scores."""
    usual = min(_fitted(canvas, 0.025, least=11), max(canvas.shape[0] // 4, 6))
    small = max(usual * 4 // 5, 9)
    sides = detections.boxes_xyxy_px[:, 2:] - detections.boxes_xyxy_px[:, :2]
    bearable = _CROWDED * canvas.shape[0] * canvas.shape[1]
    if len(detections) >= _MANY:
        bearable = min(bearable, float(sides.prod(axis=1).sum()) / 2)
    labels = _measured(canvas, detections, style, usual)
    for size, scores in ((small, True), (small, False)):
        if sum(labels.widths) * labels.height <= bearable:
            break
        labels = _measured(canvas, detections, replace(style, scores=style.scores and scores), size)
    return labels


def _measured(canvas: Image, detections: Detections, style: DrawStyle, size: int) -> _Labels:
    names = [detections.class_names[int(number)] for number in detections.class_ids]
    font, drawable = _font_for(tuple(sorted(set(names))), style.font, size)
    padding = max(size // 4, 1)
    room = canvas.shape[1] - 2 * padding
    texts = [
        _shortened(_label_text(name, int(class_id), float(score), style, name in drawable), font, room)
        for name, class_id, score in zip(names, detections.class_ids, detections.scores, strict=True)
    ]
    ascent, descent = _line_metrics(font, size)
    return _Labels(
        texts=texts,
        widths=[min(math.ceil(font.getlength(text)) + 2 * padding, canvas.shape[1]) for text in texts],
        height=min(ascent + descent + padding // 2, canvas.shape[0]),
        baseline=ascent + padding // 4,
        padding=padding,
        font=font,
    )


def _label_text(name: str, class_id: int, score: float, style: DrawStyle, drawable: bool) -> str:
    shown = printable(name) if drawable else f"class {class_id}"
    return f"{shown} {score:.2f}" if style.scores else shown


def _shortened(text: str, font: Font, room: float) -> str:
    """The text, or as much of its start as fits, with an ellipsis; "" if not even that fits."""
    if font.getlength(text) <= room:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle] + "…") <= room else (low, middle - 1)
    return text[:low] + "…" if low else ""


def _line_metrics(font: Font, size: int) -> tuple[int, int]:
    if isinstance(font, ImageFont.FreeTypeFont):
        ascent, descent = font.getmetrics()
        return ascent, descent
    return size, 0


@functools.lru_cache(maxsize=256)
def _plate(width: int, height: int, radius: int) -> Pillow.Image:
    """A mask of a rectangle with round corners; drawn large and scaled down, so that corners are smooth."""
    large = Pillow.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING), 0)
    ImageDraw.Draw(large).rounded_rectangle(
        (0, 0, large.width - 1, large.height - 1), radius * _OVERSAMPLING, fill=255
    )
    return large.resize((width, height), Pillow.Resampling.BOX)


@functools.lru_cache(maxsize=32)
def _font_for(names: tuple[str, ...], font_file: str, size: int) -> tuple[Font, frozenset[str]]:
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
