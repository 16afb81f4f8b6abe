"""Results on disk: pictures with boxes, YOLO text, JSON lines, CSV and COCO's list of results.

Each writer is a context manager that gives a function ``write(result)``. They stream: memory does not grow with
the number of pictures. Lines and pictures are there as soon as they are written; the COCO file, which is one JSON
document, appears whole at the end or not at all. All text is UTF-8 with plain line feeds.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import cv2

from vedette.checkpoint.atomic import atomic_file
from vedette.core.printable import printable
from vedette.core.types import Detections, Image
from vedette.errors import ImageError, VedetteError, WriteError
from vedette.infer.draw import DrawStyle, draw_detections
from vedette.infer.stream import PictureResult

Write = Callable[[PictureResult], None]

CSV_COLUMNS = (
    "path",
    "class_id",
    "class_name",
    "score",
    "x1",
    "y1",
    "x2",
    "y2",
    "picture_width",
    "picture_height",
)

_log = logging.getLogger(__name__)

_ENCODINGS: dict[str, list[int]] = {
    ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    ".png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
    ".webp": [cv2.IMWRITE_WEBP_QUALITY, 92],
    ".bmp": [],
    ".tif": [],
    ".tiff": [],
}


class OutputNames:
    """Gives every result a file name of its own: ``a.jpg`` of a second folder becomes ``a_2.jpg``.

    Names that differ only in case or in Unicode composition count as equal, as some file systems hold.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, stem: str, suffix: str = "") -> str:
        """``stem + suffix`` if it is free, else with the first free number from 2."""
        name = stem + suffix
        key = _folded(name)
        if key in self._taken:
            number = self._next.get(key, 2)
            while _folded(f"{stem}_{number}{suffix}") in self._taken:
                number += 1
            self._next[key] = number + 1
            name = f"{stem}_{number}{suffix}"
        self._taken.add(_folded(name))
        return name


@contextlib.contextmanager
def picture_writer(folder: Path, style: DrawStyle) -> Iterator[Write]:
    """Writes each picture with its boxes to ``folder`` under its own file name.

    Formats that cannot be written become PNG, with that suffix behind the name. Raises WriteError.
    """
    names = OutputNames()

    def write(result: PictureResult) -> None:
        suffix = result.item.file.suffix
        name = _named(names, result, suffix if suffix.lower() in _ENCODINGS else f"{suffix}.png")
        if result.detections is None or result.image is None:
            return
        data = _encoded(name, draw_detections(result.image, result.detections, style))
        with _writing(folder / name):
            (folder / name).write_bytes(data)

    yield write


@contextlib.contextmanager
def text_writer(folder: Path, *, scores: bool) -> Iterator[Write]:
    """Writes ``folder/STEM.txt``: a line ``class cx cy w h [score]`` a box, best first, relative to the picture.

    Numbers have six significant digits (evaluation.md section 6). A picture without boxes has no file; one of an
    earlier run is removed. Raises WriteError.
    """
    names = OutputNames()
    with _writing(folder):
        folder.mkdir(exist_ok=True)

    def write(result: PictureResult) -> None:
        path = folder / _named(names, result, ".txt")
        lines = yolo_lines(result.detections, scores=scores) if result.detections is not None else []
        with _writing(path):
            if lines:
                path.write_bytes("".join(f"{line}\n" for line in lines).encode("ascii"))
            else:
                path.unlink(missing_ok=True)

    yield write


@contextlib.contextmanager
def json_lines_writer(path: Path) -> Iterator[Write]:
    """Writes one JSON object a picture: ``path``, ``size_hw``, and ``detections`` or ``error``. Raises WriteError."""
    with _text_file(path) as file:

        def write(result: PictureResult) -> None:
            with _writing(path):
                file.write(json_text(picture_record(result)) + "\n")

        yield write


@contextlib.contextmanager
def csv_writer(path: Path) -> Iterator[Write]:
    """Writes one row a box under the names ``CSV_COLUMNS``; corners in pixels. Raises WriteError."""
    with _text_file(path) as file:
        table = csv.writer(file, lineterminator="\n")
        with _writing(path):
            table.writerow(CSV_COLUMNS)

        def write(result: PictureResult) -> None:
            if result.detections is None:
                return
            found = result.detections
            with _writing(path):
                table.writerows(
                    [
                        printable(result.item.path),
                        record["class_id"],
                        printable(record["class_name"]),
                        f"{record['score']:.6g}",
                        *(f"{value:.7g}" for value in record["box_xyxy"]),
                        found.size_hw[1],
                        found.size_hw[0],
                    ]
                    for record in found.records()
                )

        yield write


@contextlib.contextmanager
def coco_writer(path: Path) -> Iterator[Write]:
    """Writes COCO's list of results: ``image_id``, ``category_id``, ``bbox`` (x, y, w, h in pixels), ``score``.

    The image id is the file's stem, as a number if it is one; the category id is the class id. The file is put in
    place when the block ends without an error. Raises WriteError.
    """
    names = OutputNames()
    numbers: set[int] = set()
    with atomic_file(path, 0) as file:
        file.write(b"[")
        separator = b"\n"

        def write(result: PictureResult) -> None:
            nonlocal separator
            stem = names.take(result.item.file.stem)
            image_id: int | str = stem
            if stem.isascii() and stem.isdecimal() and int(stem) not in numbers:
                image_id = int(stem)
                numbers.add(image_id)
            if result.detections is None:
                return
            for record in result.detections.to_coco(image_id):
                with _writing(path):
                    file.write(separator + json_text(record).encode("utf-8"))
                separator = b",\n"

        yield write
        with _writing(path):
            file.write(b"\n]\n")


def yolo_lines(detections: Detections, *, scores: bool = False) -> list[str]:
    """The lines of a YOLO text file: class, centre and size relative to the picture, and the score if asked for."""
    height, width = detections.size_hw
    lines = []
    for box, score, class_id in zip(
        detections.boxes_xyxy_px.tolist(), detections.scores, detections.class_ids, strict=True
    ):
        x1, y1, x2, y2 = box
        values = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        if scores:
            values.append(float(score))
        lines.append(" ".join([str(int(class_id)), *(f"{value:g}" for value in values)]))
    return lines


def picture_record(result: PictureResult) -> dict[str, Any]:
    """The JSON object of one picture: its detections, or its error and the kind of it."""
    if result.detections is not None:
        return {
            "path": result.item.path,
            "size_hw": list(result.detections.size_hw),
            "detections": result.detections.records(),
        }
    record: dict[str, Any] = {"path": result.item.path, "size_hw": None, "error": error_text(result.error)}
    if isinstance(result.error, ImageError):
        record["error_kind"] = result.error.kind
    return record


def error_text(error: VedetteError | None) -> str:
    """What is wrong and what to do, without the place, on one line."""
    if error is None:
        return "unknown"
    return printable(f"{error.what}; {error.fix}" if error.fix else error.what)


def json_text(value: object) -> str:
    r"""JSON on one line with readable letters; controls and bytes that are no UTF-8 are ``\u`` escapes."""
    return printable(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _named(names: OutputNames, result: PictureResult, suffix: str) -> str:
    """A free name for the result's file, the same whether or not the picture could be read."""
    stem = result.item.file.stem
    name = names.take(stem, suffix)
    if name != stem + suffix:
        _log.warning(
            "the result of %s is written as %s: its name was taken", printable(result.item.path), name
        )
    return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _encoded(name: str, image: Image) -> bytes:
    """The picture as a file of the format its name says; as PNG if that format has no room for its size."""
    suffix = Path(name).suffix.lower()
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    for attempt in (suffix, ".png"):
        with contextlib.suppress(cv2.error):  # for example more than 65,535 pixels a side in a JPEG
            done, data = cv2.imencode(attempt, pixels, _ENCODINGS[attempt])
            if done:
                return data.tobytes()
    raise WriteError("the picture cannot be encoded", where=name)


@contextlib.contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    with _writing(path):
        file = path.open("w", encoding="utf-8", newline="\n")
    try:
        yield file
    finally:
        with _writing(path):
            file.close()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            fix="check the disk and the permissions",
        ) from error
