"""Boxes and labels drawn into a picture."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from vedette.core.colours import Colour, class_colour, text_colour, track_colour
from vedette.core.display import display
from vedette.core.printable import printable
from vedette.core.types import Detections, Image, RgbImage
from vedette.infer.fonts import Font, font_for, line_metrics, shortened
from vedette.infer.label_layout import place_labels
from vedette.infer.tracking.trails import Trail, draw_trails

_Bar = tuple[int, int, int, int]

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


@dataclass(frozen=True, slots=True)
class BoxLook:
    """How one box differs from the usual.

    Attributes:
        colour: of its line and label; None: that of its class.
        dashed: its line is.
        labelled: it carries its label.
    """

    colour: Colour | None = None
    dashed: bool = False
    labelled: bool = True


def draw_detections(
    image: Image,
    detections: Detections,
    style: DrawStyle | None = None,
    *,
    looks: Sequence[BoxLook] | None = None,
    trails: Sequence[Trail] = (),
) -> RgbImage:
    """A copy of the picture with a box and a label for each detection, the best on top, as 8-bit RGB.

    Where objects were tracked a box has the colour of its track, grey without one, and its label has the id.

    Args:
        image: the picture that the detections are of, of any picture format.
        detections: boxes in its pixels.
        style: line width, labels, font.
        looks: one a detection; default: the colour of its class or track, a line, a label.
        trails: where tracked objects came from, drawn below the boxes.

    Raises:
        UsageError: the font file cannot be read.
    """
    chosen = style or DrawStyle()
    looks = looks if looks is not None else [BoxLook()] * len(detections)
    seen = display(image)
    canvas = seen.copy() if seen is image else seen
    line_width = chosen.line_width or _fitted(image, 0.0036, least=2)
    colours = [look.colour or colour for look, colour in zip(looks, usual_colours(detections), strict=True)]
    draw_trails(canvas, trails, line_width)
    for number in reversed(range(len(detections))):
        box = detections.boxes_xyxy_px[number].tolist()
        _draw_box(canvas, box, colours[number], line_width, dashed=looks[number].dashed)
    labelled = np.flatnonzero([look.labelled for look in looks])
    if chosen.labels and len(labelled):
        chosen_colours = [colours[number] for number in labelled]
        return _draw_labels(canvas, detections.chosen(labelled), chosen_colours, chosen, line_width)
    return canvas


def usual_colours(detections: Detections) -> list[Colour]:
    """The colour of each box: that of its track where objects were tracked, grey without one; else of its class."""
    if detections.track_ids is None:
        return [class_colour(int(class_id)) for class_id in detections.class_ids]
    return [track_colour(int(track_id)) for track_id in detections.track_ids]


def _fitted(image: Image, share: float, least: int) -> int:
    """A length that grows with the picture: a share of its mean side."""
    height, width = image.shape[:2]
    return max(round(int(height + width) / 2 * share), least)


def _draw_box(
    canvas: Image, box: Sequence[float], colour: Colour, line_width: int, *, dashed: bool = False
) -> None:
    """A frame of ``line_width`` pixels on the box's edge, and a pixel around it that sets off its colour."""
    x1, y1, x2, y2 = (round(value) for value in box)
    outwards = line_width // 2
    outer = (x1 - outwards, y1 - outwards, max(x2, x1 + 1) + outwards, max(y2, y1 + 1) + outwards)
    halo = np.array(text_colour(colour), dtype=np.float32) * _HALO
    for rows, columns in _ring(canvas, (outer[0] - 1, outer[1] - 1, outer[2] + 1, outer[3] + 1), 1):
        canvas[rows, columns] = (canvas[rows, columns] * (1 - _HALO) + halo).astype(np.uint8)
    dash = 3 * line_width if dashed else 0
    for rows, columns in _ring(canvas, outer, line_width, dash):
        canvas[rows, columns] = colour


def _ring(
    canvas: Image, outer: tuple[int, int, int, int], width: int, dash: int = 0
) -> list[tuple[slice, slice]]:
    """The four bars of a rectangle's edge, disjoint, cut off at the picture's edges; in dashes if ``dash`` > 0."""
    x1, y1, x2, y2 = outer
    top_end = min(y1 + width, y2)
    bottom_start = max(y2 - width, top_end)
    left_end = min(x1 + width, x2)
    right_start = max(x2 - width, left_end)
    bars: tuple[_Bar, ...] = (
        (y1, top_end, x1, x2),
        (bottom_start, y2, x1, x2),
        (top_end, bottom_start, x1, left_end),
        (top_end, bottom_start, right_start, x2),
    )
    if dash:
        bars = tuple(part for bar in bars for part in _dashes(bar, dash))
    return [
        (slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0)))
        for top, bottom, left, right in bars
    ]


def _dashes(bar: _Bar, length: int) -> list[_Bar]:
    """Dashes of a bar (top, bottom, left, right), as long as the gaps between them."""
    top, bottom, left, right = bar
    if bottom - top > right - left:
        return [(start, min(start + length, bottom), left, right) for start in range(top, bottom, 2 * length)]
    return [(top, bottom, start, min(start + length, right)) for start in range(left, right, 2 * length)]


def _draw_labels(
    canvas: RgbImage,
    detections: Detections,
    colours: Sequence[Colour],
    style: DrawStyle,
    line_width: int,
) -> RgbImage:
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
        colour = colours[number]
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
    font, drawable = font_for(tuple(sorted(set(names))), style.font, size)
    padding = max(size // 4, 1)
    room = canvas.shape[1] - 2 * padding
    texts = [
        shortened(_label_text(detections, number, style, name in drawable), font, room)
        for number, name in enumerate(names)
    ]
    ascent, descent = line_metrics(font, size)
    return _Labels(
        texts=texts,
        widths=[min(math.ceil(font.getlength(text)) + 2 * padding, canvas.shape[1]) for text in texts],
        height=min(ascent + descent + padding // 2, canvas.shape[0]),
        baseline=ascent + padding // 4,
        padding=padding,
        font=font,
    )


def _label_text(detections: Detections, number: int, style: DrawStyle, drawable: bool) -> str:
    """``#7 car 0.88``: the track if there is one, the class, the score."""
    class_id = int(detections.class_ids[number])
    text = printable(detections.class_names[class_id]) if drawable else f"class {class_id}"
    if detections.track_ids is not None and detections.track_ids[number] >= 1:
        text = f"#{detections.track_ids[number]} {text}"  # away from the score, which is a number too
    return f"{text} {float(detections.scores[number]):.2f}" if style.scores else text


@functools.lru_cache(maxsize=256)
def _plate(width: int, height: int, radius: int) -> Pillow.Image:
    """A mask of a rectangle with round corners; drawn large and scaled down, so that corners are smooth."""
    large = Pillow.new("L", (width * _OVERSAMPLING, height * _OVERSAMPLING), 0)
    ImageDraw.Draw(large).rounded_rectangle(
        (0, 0, large.width - 1, large.height - 1), radius * _OVERSAMPLING, fill=255
    )
    return large.resize((width, height), Pillow.Resampling.BOX)
