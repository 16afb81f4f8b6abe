"""Results as pictures on disk: pictures with boxes drawn in, what is inside each box, and maps of layers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from vedette.core.display import display
from vedette.core.printable import printable
from vedette.core.types import FloatArray, Image
from vedette.errors import WriteError
from vedette.infer.backends import inspectable
from vedette.infer.draw import DrawStyle, draw_detections
from vedette.infer.stream import PictureResult
from vedette.infer.writers import ResultNames, Write, writing

if TYPE_CHECKING:
    from vedette.infer.predictor import Predictor

_ENCODINGS: dict[str, list[int]] = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 92],
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
}

_MOST_CHANNELS = 64
_LEAST_SIDE, _MOST_SIDE = 96, 160
_GAP = 2


@contextlib.contextmanager
def picture_writer(folder: Path, style: DrawStyle) -> Iterator[Write]:
    """Writes each picture with its boxes to ``folder`` under its own file name; those of videos are left out.

    Formats that cannot be written become PNG, with that suffix behind the name. Raises WriteError.
    """
    names = ResultNames()

    def write(result: PictureResult) -> None:
        if result.event is not None or result.item.frame_index is not None:
            return
        suffix = result.item.file.suffix
        name = names.take(result.item, suffix if suffix.lower() in _ENCODINGS else f"{suffix}.png")
        if result.detections is None or result.image is None:
            return
        drawn = draw_detections(result.image, result.detections, style, trails=result.trails)
        write_picture(folder / name, drawn)

    yield write


@contextlib.contextmanager
def crop_writer(folder: Path) -> Iterator[Write]:
    """Writes what is inside each box to ``folder/CLASS/NAME_<number>.jpg``, numbers from 1, the best first.

    A box is widened to whole pixels. Raises WriteError.
    """
    names = ResultNames()

    def write(result: PictureResult) -> None:
        if result.event is not None:
            return
        name = names.take(result.item)
        if result.detections is None or result.image is None:
            return
        found = result.detections
        for number, (box, class_id) in enumerate(
            zip(found.boxes_xyxy_px, found.class_ids, strict=True), start=1
        ):
            inside = folder / folder_name(found.class_names[int(class_id)])
            with writing(inside):
                inside.mkdir(parents=True, exist_ok=True)
            write_picture(inside / f"{name}_{number}.jpg", cut_out(result.image, box))

    yield write


@contextlib.contextmanager
def feature_writer(folder: Path, predictor: Predictor) -> Iterator[Write]:
    """Writes the map of every layer before the head to ``folder/NAME/layer_<row>.png``, channels side by side.

    The network runs again for them. Raises WriteError; ModelError: the network does not show its inside.
    """
    backend = inspectable(predictor.backend, "--visualize")
    layers = backend.shown_layers
    names = ResultNames()

    def write(result: PictureResult) -> None:
        if result.event is not None:
            return
        inside = folder / names.take(result.item)
        if result.image is None:
            return
        maps = predictor.features([result.image], layers)
        with writing(inside):
            inside.mkdir(parents=True, exist_ok=True)
        for layer in layers:
            write_picture(inside / f"layer_{layer:02}.png", feature_sheet(maps[layer][0]))

    yield write


def feature_sheet(maps: FloatArray) -> Image:
    """The first channels of a layer as one picture, RGB uint8; dark is the least and bright the most of a channel.

    Args:
        maps: float32 [c, h, w].
    """
    shown = maps[:_MOST_CHANNELS]
    height, width = shown.shape[1:]
    scale = min(max(height, width, _LEAST_SIDE), _MOST_SIDE) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    columns = math.ceil(math.sqrt(len(shown)))
    tiles = []
    for channel in shown:
        low, high = float(channel.min()), float(channel.max())
        grey = ((channel - low) * (255.0 / (high - low) if high > low else 0.0)).astype(np.uint8)
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
        coloured = cv2.cvtColor(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
        tiles.append(np.pad(coloured, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255))
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    sheet: Image = np.vstack(rows)[:-_GAP, :-_GAP]
    return sheet


def cut_out(image: Image, box_xyxy_px: FloatArray) -> Image:
    """What is inside a box that lies in the picture, widened to whole pixels, at least one."""
    left, top = (math.floor(value) for value in box_xyxy_px[:2])
    right, bottom = (math.ceil(value) for value in box_xyxy_px[2:])
    left, top = min(left, image.shape[1] - 1), min(top, image.shape[0] - 1)
    part: Image = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    return part


def folder_name(class_name: str) -> str:
    """A class name as one folder: no separators, nothing that a file system refuses."""
    cleaned = "".join("_" if letter in '<>:"/\\|?*' else letter for letter in printable(class_name))
    return cleaned.strip(" .") or "_"


def write_picture(path: Path, image: Image) -> None:
    """Write an RGB picture in the format of the path's suffix; as PNG if that has no room for its size.

    Raises:
        WriteError: the file cannot be written.
    """
    data = _encoded(path.name, image)
    with writing(path):
        path.write_bytes(data)


def _encoded(name: str, image: Image) -> bytes:
    suffix = Path(name).suffix.lower()
    pixels = cv2.cvtColor(display(image), cv2.COLOR_RGB2BGR)
    for attempt in (suffix, ".png"):
        with contextlib.suppress(cv2.error):  # for example more than 65,535 pixels a side in a JPEG
            done, data = cv2.imencode(attempt, pixels, _ENCODINGS[attempt])
            if done:
                return data.tobytes()
    raise WriteError("the picture cannot be encoded", where=name)
