"""Results as text on disk: YOLO text, JSON lines, CSV and COCO's list of results.

Each writer is a context manager that gives a function ``write(result)``. They stream: memory does not grow with
the number of pictures. Lines are there as soon as they are written; the COCO file, which is one JSON document,
appears whole at the end or not at all. All text is UTF-8 with plain line feeds.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from vedette.checkpoint.atomic import atomic_file
from vedette.core.printable import printable
from vedette.core.types import Detections
from vedette.errors import ImageError, VedetteError, WriteError
from vedette.infer.sources import SourceItem
from vedette.infer.stream import PictureResult
from vedette.infer.video.live import SourceEvent

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
    "frame_index",
    "time_ms",
    "track_id",
)

_log = logging.getLogger(__name__)


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

    def take_series(self, stem: str) -> str:
        """A beginning of names, ``stem`` or with a number: ``BEGINNING_<number>`` is no name that was taken."""
        taken = re.compile("^(.*)_[0-9]+(?:[.][^.]*)?$", re.DOTALL)
        beginnings = {match[1] for match in map(taken.match, self._taken) if match} | self._taken
        number, name = 1, stem
        while _folded(name) in beginnings:
            number += 1
            name = f"{stem}_{number}"
        self._taken.add(_folded(name))
        return name


class ResultNames:
    """Names of the files of results: a picture's own; of a picture out of a video its name and a number.

    As published, numbers begin at 1 in videos and at 0 in streams. Of videos and streams one name each is kept,
    not one a picture; that no two results meet takes pictures that come before videos.
    """

    def __init__(self) -> None:
        self._names = OutputNames()
        self._series: dict[str, str] = {}

    def take(self, item: SourceItem, suffix: str = "") -> str:
        """A name nobody has; a warning is logged where a picture's own is taken."""
        if item.frame_index is not None:
            return f"{self.series(item)}_{item.frame_index + (not item.live)}{suffix}"
        name = self._names.take(item.file.stem, suffix)
        if name != item.file.stem + suffix:
            _log.warning("the result of %s is written as %s: its name was taken", printable(item.path), name)
        return name

    def series(self, item: SourceItem) -> str:
        """The name of a video or stream, the same each time."""
        if item.path not in self._series:
            self._series[item.path] = self._names.take_series(item.file.stem)
        return self._series[item.path]


@contextlib.contextmanager
def text_writer(folder: Path, *, scores: bool) -> Iterator[Write]:
    """Writes ``folder/STEM.txt``: a line ``class cx cy w h [score]`` a box, best first, relative to the picture.

    Numbers have six significant digits (evaluation.md section 6). A picture without boxes has no file; one of an
    earlier run is removed. Raises WriteError.
    """
    names = ResultNames()
    with writing(folder):
        folder.mkdir(exist_ok=True)

    def write(result: PictureResult) -> None:
        if result.event is not None:
            return
        path = folder / names.take(result.item, ".txt")
        lines = yolo_lines(result.detections, scores=scores) if result.detections is not None else []
        with writing(path):
            if lines:
                path.write_bytes("".join(f"{line}\n" for line in lines).encode("ascii"))
            else:
                path.unlink(missing_ok=True)

    yield write


@contextlib.contextmanager
def json_lines_writer(path: Path) -> Iterator[Write]:
    """Writes one JSON object a picture: ``path``, ``size_hw``, and ``detections`` or ``error``. Raises WriteError.

    A picture of a video or stream has ``frame_index`` and ``time_ms`` too. What happens to a stream, and a video that
    could not be read to its end, are objects with ``event``.
    """
    with _text_file(path) as file:

        def write(result: PictureResult) -> None:
            if result.event is not None and not result.item.live and result.error is None:
                return
            with writing(path):
                file.write(json_text(picture_record(result)) + "\n")

        yield write


@contextlib.contextmanager
def csv_writer(path: Path) -> Iterator[Write]:
    """Writes one row a box under the names ``CSV_COLUMNS``; corners in pixels. Raises WriteError."""
    with _text_file(path) as file:
        table = csv.writer(file, lineterminator="\n")
        with writing(path):
            table.writerow(CSV_COLUMNS)

        def write(result: PictureResult) -> None:
            if result.detections is None:
                return
            found = result.detections
            with writing(path):
                table.writerows(
                    [
                        printable(result.item.path),
                        record["class_id"],
                        printable(record["class_name"]),
                        f"{record['score']:.6g}",
                        *(f"{value:.7g}" for value in record["box_xyxy"]),
                        found.size_hw[1],
                        found.size_hw[0],
                        "" if found.frame_index is None else found.frame_index,
                        "" if found.time_ms is None else f"{found.time_ms:.3f}",
                        record.get("track_id") or "",
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
    names = ResultNames()
    numbers: set[int] = set()
    with atomic_file(path, 0) as file:
        file.write(b"[")
        separator = b"\n"

        def write(result: PictureResult) -> None:
            nonlocal separator
            if result.event is not None:
                return
            stem = names.take(result.item)
            image_id: int | str = stem
            if stem.isascii() and stem.isdecimal() and int(stem) not in numbers:
                image_id = int(stem)
                numbers.add(image_id)
            if result.detections is None:
                return
            for record in result.detections.to_coco(image_id):
                with writing(path):
                    file.write(separator + json_text(record).encode("utf-8"))
                separator = b",\n"

        yield write
        with writing(path):
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
    """The JSON object of one picture: its detections, or its error and the kind of it; or that of an event."""
    record: dict[str, Any] = {"path": result.item.path}
    if result.event is not None:
        return record | _event_record(result.event)
    if result.item.frame_index is not None:
        record |= {"frame_index": result.item.frame_index, "time_ms": _rounded(result.item.time_ms)}
    if result.detections is not None:
        found = result.detections
        return record | {"size_hw": list(found.size_hw), "detections": found.records()}
    record |= {"size_hw": None, "error": error_text(result.error)}
    if isinstance(result.error, ImageError):
        record["error_kind"] = result.error.kind
    return record


def _event_record(event: SourceEvent) -> dict[str, Any]:
    values = {
        "event": event.kind,
        "time_ms": _rounded(event.time_ms),
        "utc": event.utc or None,
        "frames": event.frames,
        "dropped": event.dropped if event.utc else None,
        "gap_ms": _rounded(event.gap_ms),
        "error": None if event.error is None else error_text(event.error),
    }
    return {name: value for name, value in values.items() if value is not None}


def _rounded(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds, 3)


def error_text(error: VedetteError | None) -> str:
    """What is wrong and what to do, without the place, on one line."""
    if error is None:
        return "unknown"
    return printable(f"{error.what}; {error.fix}" if error.fix else error.what)


def json_text(value: object) -> str:
    r"""JSON on one line with readable letters; controls and bytes that are no UTF-8 are ``\u`` escapes."""
    return printable(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@contextlib.contextmanager
def _text_file(path: Path) -> Iterator[TextIO]:
    with writing(path):
        # Buffered by lines: who watches a stream reads on while it is written.
        file = path.open("w", encoding="utf-8", newline="\n", buffering=1)
    try:
        yield file
    finally:
        with writing(path):
            file.close()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Failures of the disk in this block as errors that name the file. Raises WriteError."""
    try:
        yield
    except OSError as error:
        raise WriteError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            fix="check the disk and the permissions",
        ) from error
