"""Many small pictures with boxes on one sheet, with captions and a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from vedette.core.colours import Colour, class_colour
from vedette.core.display import display
from vedette.core.printable import printable
from vedette.core.types import Detections, Image
from vedette.errors import WriteError
from vedette.infer.draw import BoxLook, DrawStyle, draw_detections
from vedette.infer.fonts import font_for, shortened

TILE_SIDE: Final = 316
"""Pixels of the longer side of a tile; four and their gaps are 1282 pixels wide."""

_COLUMNS = 4
_GAP = 6
_CAPTION = 18
_LETTERS = 13
_INK = (34, 34, 34)
_JPEG_QUALITY = 85
_CROWD = 8  # tiles with more boxes carry no labels where the legend says it all
_CLASSES_IN_LEGEND = 7  # more have colours too alike to be looked up


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture of the sheet: its boxes in its own pixels, how they look (see ``draw_detections``), a caption."""

    image: Image
    boxes: Detections
    caption: str = ""
    looks: Sequence[BoxLook] | None = None


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """What a box of a colour means."""

    name: str
    colour: Colour
    dashed: bool = False


def shrunk(
    image: Image, boxes: Detections, caption: str = "", looks: Sequence[BoxLook] | None = None
) -> Tile:
    """A tile of a picture of any format, both scaled so that its longer side has ``TILE_SIDE`` pixels."""
    scale = TILE_SIDE / max(image.shape[:2])
    height, width = (max(1, round(length * scale)) for length in image.shape[:2])
    small: Image = cv2.resize(  # type: ignore[assignment]
        display(image), (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    factors = np.array([width / image.shape[1], height / image.shape[0]] * 2, dtype=np.float32)
    scaled = replace(boxes, boxes_xyxy_px=boxes.boxes_xyxy_px * factors, size_hw=(height, width))
    return Tile(small, scaled, caption, looks)


def class_sheet(tiles: Sequence[Tile], *, scores: bool) -> Image:
    """A sheet of boxes in the colours of their classes.

    Few classes are named in a legend, and crowded tiles carry no labels then: boxes say more than piles of text.
    """
    names = {
        int(number): tile.boxes.class_names[int(number)] for tile in tiles for number in tile.boxes.class_ids
    }
    legible = len(names) <= _CLASSES_IN_LEGEND
    drawn = [
        draw_detections(
            tile.image,
            tile.boxes,
            DrawStyle(line_width=2, scores=scores, labels=not legible or len(tile.boxes) <= _CROWD),
            looks=tile.looks,
        )
        for tile in tiles
    ]
    legend = [LegendEntry(names[number], class_colour(number)) for number in sorted(names)] if legible else []
    return sheet(drawn, [tile.caption for tile in tiles], legend)


def sheet(pictures: Sequence[Image], captions: Sequence[str], legend: Sequence[LegendEntry] = ()) -> Image:
    """Pictures row by row on white, captions below them if there are any, the legend at the end.

    Args:
        pictures: RGB uint8, at most ``TILE_SIDE`` pixels wide.
        captions: one a picture; names from outside are made printable.
        legend: what colours mean.

    Returns:
        RGB uint8 [H, W, 3].
    """
    columns = max(1, min(_COLUMNS, len(pictures)))
    captioned = _CAPTION if any(captions) else 0
    rows = [range(first, min(first + columns, len(pictures))) for first in range(0, len(pictures), columns)]
    heights = [max(pictures[number].shape[0] for number in row) for row in rows]
    width = columns * (TILE_SIDE + _GAP) + _GAP
    lines = _legend_lines(legend, width)
    height = sum(heights) + len(rows) * (captioned + _GAP) + _GAP + len(lines) * (_CAPTION + _GAP)
    canvas = Pillow.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    top = _GAP
    for row, row_height in zip(rows, heights, strict=True):
        for column, number in enumerate(row):
            left = _GAP + column * (TILE_SIDE + _GAP)
            picture = pictures[number]
            inset = ((TILE_SIDE - picture.shape[1]) // 2, (row_height - picture.shape[0]) // 2)
            canvas.paste(Pillow.fromarray(picture), (left + inset[0], top + inset[1]))
            if captioned:
                _write(draw, (left, top + row_height), captions[number], TILE_SIDE)
        top += row_height + captioned + _GAP
    for line in lines:
        for left, entry in line:
            _draw_entry(draw, (left, top), entry)
        top += _CAPTION + _GAP
    return np.array(canvas)


def write_jpeg(image: Image, path: Path) -> Path:
    """Write an RGB picture; the folder is created. Returns ``path``. Raises WriteError."""
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror})", where=path) from None
    return path


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, room: int) -> None:
    """A line of text, as much of it as fits, its box's top left corner at ``place``."""
    text = printable(text)
    font, drawable = font_for((text,), "", _LETTERS)
    shown = text if text in drawable else "".join(sign if sign.isascii() else "?" for sign in text)
    draw.text((place[0], place[1] + _CAPTION // 2), shortened(shown, font, room), _INK, font, anchor="lm")


_SWATCH = 26


def _legend_lines(legend: Sequence[LegendEntry], width: int) -> list[list[tuple[int, LegendEntry]]]:
    """The entries in lines that fit the width, each with its left edge."""
    lines: list[list[tuple[int, LegendEntry]]] = []
    left = width
    for entry in legend:
        text = printable(entry.name)
        font, _ = font_for((text,), "", _LETTERS)
        needed = min(_SWATCH + 6 + math.ceil(font.getlength(text)) + 18, width - 2 * _GAP)
        if left + needed > width - _GAP:
            lines.append([])
            left = _GAP
        lines[-1].append((left, entry))
        left += needed
    return lines


def _draw_entry(draw: ImageDraw.ImageDraw, place: tuple[int, int], entry: LegendEntry) -> None:
    """A sample of the line, and the name."""
    left, top = place
    middle = top + _CAPTION // 2
    step = 6 if entry.dashed else _SWATCH
    draw.rectangle((left - 1, middle - 3, left + _SWATCH, middle + 2), (255, 255, 255), (90, 90, 90))
    for start in range(left, left + _SWATCH, 2 * step):
        draw.rectangle((start, middle - 2, min(start + step, left + _SWATCH) - 1, middle + 1), entry.colour)
    _write(draw, (left + _SWATCH + 6, top), entry.name, TILE_SIDE * _COLUMNS)
