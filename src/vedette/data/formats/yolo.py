"""YOLO text labels: one file a picture, one row a box, ``class x_center y_center width height`` in 0..1.

``parse_label`` is the reading: exact, line by line, naming every fault. Nearly all label files are flawless
and plain, though, so ``parse`` first matches each file against the one pattern ``_PLAIN_FILE`` and converts all
files that match in a single call; both ways give the same rows, which a test holds.
"""

# Paths are strings here: a split has 100,000 of them, and Path objects cost ten times as much.
# ruff: noqa: PTH100, PTH118, PTH119

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vedette.data.defects import KINDS, Defect, quoted
from vedette.data.formats.numbers import read_number, read_numbers
from vedette.data.formats.records import (
    LabelFile,
    RawRows,
    RawSplit,
    SplitFiles,
    picture_mentions,
    read_label_file,
)
from vedette.data.sources import collect_pictures, find_label_path, walk_pictures

if TYPE_CHECKING:
    from vedette.data.description import DatasetDescription, SplitSource

# Bounded, so that no such number overflows; unambiguous, so that matching takes linear time.
_PLAIN_NUMBER = rb"(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?"
_PLAIN_ROW = rb"[0-9]{1,9}(?:[ \t]+" + _PLAIN_NUMBER + rb"){4}[ \t]*"
_PLAIN_FILE = re.compile(rb"(?:" + _PLAIN_ROW + rb"\r?\n)*" + _PLAIN_ROW)

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_WORDS = ("x_center", "y_center", "width", "height")


@dataclass(slots=True)
class ParsedLabel:
    """Rows and faults of one label file.

    Attributes:
        rows: (class, cx, cy, w, h, line) of each row that could be read.
        faults: (line, kind, text), by line.
        bad_rows: how many rows could not be read.
    """

    rows: list[tuple[float, float, float, float, float, int]] = field(default_factory=list)
    faults: list[tuple[int, str, str]] = field(default_factory=list)
    bad_rows: int = 0

    def refuse(self, line: int, kind: str, text: str) -> None:
        """Record a fault of a line."""
        self.faults.append((line, kind, text))
        self.bad_rows += KINDS[kind].effect == "row"


def gather(description: DatasetDescription, source: SplitSource) -> SplitFiles:
    """Find the pictures of a split and read their label files."""
    suffixes = description.picture_suffixes
    pictures = collect_pictures(source.images, description.search_roots, suffixes)
    for path in (path for folder in source.backgrounds for path in walk_pictures(folder, suffixes)):
        pictures.add(path)
    labels = [read_label_file(find_label_path(path)) for path in pictures.paths]
    folders = [os.path.abspath(folder) for folder in source.images if folder.is_dir()]
    for path in _labels_without_picture(folders, labels):
        pictures.defects.append(
            Defect(path, 0, "label-without-picture", KINDS["label-without-picture"].meaning)
        )
    return SplitFiles(pictures, labels)


def _labels_without_picture(picture_folders: Sequence[str], labels: Sequence[LabelFile]) -> list[str]:
    """Label files in ``labels/…`` folders that mirror a wholly searched folder but have no picture there.

    Labels that lie beside their pictures are left alone: other text files lie there too.
    """
    used = {label.path for label in labels}
    mirrored = {find_label_path(os.path.join(folder, "x.jpg"))[: -len("x.txt")] for folder in picture_folders}
    plain = {os.path.join(folder, "") for folder in picture_folders}
    strangers = []
    for folder in sorted(mirrored - plain):
        for base, _, names in os.walk(folder):
            prefix = os.path.join(os.path.normpath(base), "")
            strangers += [
                prefix + name for name in names if name.endswith(".txt") and prefix + name not in used
            ]
    return sorted(path for path in strangers if os.path.basename(path) != "classes.txt")


def parse(description: DatasetDescription, files: SplitFiles) -> RawSplit:
    """Rows and faults of all label files of a split."""
    names = description.class_names
    defects = list(files.pictures.defects)
    unusable = set()
    plain: list[int] = []
    parsed: dict[int, ParsedLabel] = {}
    for number, label in enumerate(files.labels):
        if label.data is None:
            defects.append(Defect(label.path, 0, label.kind, label.text))
            if KINDS[label.kind].effect == "picture":
                unusable.add(number)
        elif _PLAIN_FILE.fullmatch(label.data.rstrip()):
            plain.append(number)
        elif label.data:
            parsed[number] = parse_label(label.data, names)
            defects += [Defect(label.path, *fault) for fault in parsed[number].faults]
    rows = _merge(_plain_rows(plain, files.labels), _parsed_rows(parsed))
    count = len(files.pictures.paths)
    return RawSplit(
        image_paths=files.pictures.paths,
        image_ids=None,
        declared_sizes_hw=np.zeros((count, 2), np.int32),
        label_paths=[label.path for label in files.labels],
        rows=rows,
        relative=True,
        corner_offset=0.0,
        defects=defects,
        unusable=frozenset(unusable),
        pictures_read=files.pictures.entries,
        rows_read=len(rows) + sum(label.bad_rows for label in parsed.values()),
        mention=picture_mentions(files.pictures),
    )


def parse_label(data: bytes, class_names: Sequence[str] = ()) -> ParsedLabel:
    """Read one label file exactly.

    Args:
        data: its bytes.
        class_names: to tell somebody who wrote a name which number it has.

    Returns:
        rows and faults; numbers are finite, nothing else about them is checked here.
    """
    result = ParsedLabel()
    data = data.rstrip()
    if _is_utf_16(data):
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-16-le", "replace")
        for line, content in enumerate(text.splitlines(), start=1):
            if content.strip(" \t\r\n\0"):
                result.refuse(line, "utf-16", "the file is UTF-16 text; save it as UTF-8")
        return result
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        result.refuse(1, "byte-order-mark", "the file starts with a UTF-8 byte-order mark")
    for line, raw in enumerate(data.splitlines(), start=1):
        _parse_line(result, line, raw, class_names)
    polygons = [line for line, kind, _ in result.faults if kind == "polygon"]
    if len(polygons) > 1:
        result.faults = [fault for fault in result.faults if fault[1] != "polygon"]
        result.faults.append((polygons[0], "polygon", f"{len(polygons)} polygon rows were read as boxes"))
        result.faults.sort()
    return result


def _is_utf_16(data: bytes) -> bool:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    return len(data) >= 8 and data[1::2].count(0) > 0.9 * (len(data) // 2)


def _parse_line(result: ParsedLabel, line: int, raw: bytes, class_names: Sequence[str]) -> None:
    if b"\0" in raw:
        result.refuse(line, "nul-byte", "the line holds a NUL byte")
        return
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        result.refuse(line, "binary", "the line is not UTF-8 text")
        return
    if not text:
        result.refuse(line, "blank-line", "empty line between rows")
    elif text.startswith(("#", "//")):
        result.refuse(line, "comment", f"{quoted(text)} is passed over")
    elif _CONTROL.search(text):
        result.refuse(line, "binary", f"{quoted(text)} holds control characters")
    else:
        _parse_row(result, line, text, class_names)


def _parse_row(result: ParsedLabel, line: int, text: str, class_names: Sequence[str]) -> None:
    tokens = text.split()
    fault = _column_fault(text, tokens)
    if fault:
        result.refuse(line, *fault)
        return
    class_value, kind = read_number(tokens[0])
    if kind:
        result.refuse(line, *_class_fault(tokens[0], kind, class_names))
        return
    values, kind, token = read_numbers(tokens[1:])
    if kind:
        name = _WORDS[tokens[1:].index(token)] if len(tokens) == 5 else "a polygon coordinate"
        result.refuse(line, kind, f"{name} is {quoted(token)}")
    elif len(values) == 4:
        result.rows.append((class_value, values[0], values[1], values[2], values[3], line))
    else:
        _add_polygon(result, line, class_value, values)


def _column_fault(text: str, tokens: list[str]) -> tuple[str, str] | None:
    count = len(tokens)
    if "," in text and len(text.replace(",", " ").split()) == 5 and count != 5:
        return "comma-separated", "the columns are separated by commas, not by blanks"
    if count == 5 or (count >= 7 and count % 2 == 1):
        return None
    if count >= 8:
        return "polygon-odd", f"a polygon of {count - 1} coordinates; they come in pairs"
    hint = " (a score in the sixth column belongs to predictions, not to labels)" if count == 6 else ""
    return "column-count", f"{count} columns, expected 5: class x_center y_center width height{hint}"


def _class_fault(token: str, kind: str, class_names: Sequence[str]) -> tuple[str, str]:
    if kind != "not-a-number":
        return kind, f"the class is {quoted(token)}"
    hint = f"; this name has number {class_names.index(token)}" if token in class_names else ""
    return "class-text", f"the class is {quoted(token)}, expected its number{hint}"


def _add_polygon(result: ParsedLabel, line: int, class_value: float, values: list[float]) -> None:
    outside = next((value for value in values if not 0 <= value <= 1), None)
    if outside is not None:
        kind = "pixel-coordinates" if outside > 2 else "out-of-range"
        result.refuse(line, kind, f"a polygon coordinate is {outside:g}, outside 0..1")
        return
    x1, x2 = min(values[0::2]), max(values[0::2])
    y1, y2 = min(values[1::2]), max(values[1::2])
    result.rows.append((class_value, (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, line))
    result.refuse(line, "polygon", "1 polygon row was read as a box")


def _plain_rows(numbers: Sequence[int], labels: Sequence[LabelFile]) -> RawRows:
    """Rows of the files that match ``_PLAIN_FILE``, all converted at once; rows have no end but a newline."""
    texts = [data.rstrip() for data in (labels[number].data for number in numbers) if data is not None]
    counts = np.array([text.count(b"\n") + 1 for text in texts], np.int64)
    total = int(counts.sum())
    flat = np.fromstring(b" ".join(texts).decode("ascii"), np.float64, sep=" ") if texts else np.empty(0)
    values = flat.reshape(-1, 5)
    if len(values) != total:
        raise AssertionError("the pattern of plain label files admits something that is not five numbers")
    firsts = np.repeat(np.cumsum(counts) - counts, counts)
    return _rows(
        np.repeat(np.array(numbers, np.int64), counts),
        values[:, 0],
        values[:, 1:],
        np.arange(total, dtype=np.int64) - firsts + 1,
    )


def _parsed_rows(parsed: dict[int, ParsedLabel]) -> RawRows:
    flat = [(number, *row) for number, label in parsed.items() for row in label.rows]
    table = np.array(flat, np.float64).reshape(-1, 7)
    return _rows(table[:, 0].astype(np.int64), table[:, 1], table[:, 2:6], table[:, 6].astype(np.int64))


def _rows(
    image_numbers: NDArray[np.int64],
    class_values: NDArray[np.float64],
    boxes: NDArray[np.float64],
    lines: NDArray[np.int64],
) -> RawRows:
    count = len(lines)
    return RawRows(
        image_numbers, class_values, boxes, lines, np.zeros(count, np.bool_), np.full(count, np.nan)
    )


def _merge(plain: RawRows, parsed: RawRows) -> RawRows:
    order = np.argsort(np.concatenate((plain.image_numbers, parsed.image_numbers)), kind="stable")
    return _rows(
        np.concatenate((plain.image_numbers, parsed.image_numbers))[order],
        np.concatenate((plain.class_values, parsed.class_values))[order],
        np.concatenate((plain.boxes, parsed.boxes))[order],
        np.concatenate((plain.lines, parsed.lines))[order],
    )
