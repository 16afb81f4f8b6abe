"""CSV boxes: one file a split (or for several), one row a box, columns found by the names in the header.

Columns: ``filename, width, height, class, xmin, ymin, xmax, ymax`` and perhaps ``difficult``, in any order, others
are passed over; ``width`` and ``height`` may be missing. Pixels are edges unless the description says
``coordinates: voc1``. Difficult rows become ignored boxes.

With a list file, its pictures are the split: those without a row are backgrounds, and rows of other pictures belong
to other splits. Without one, the pictures that the file names are the split.
"""

# Paths are strings here: a split has 100,000 of them, and Path objects cost ten times as much.
# ruff: noqa: PTH100, PTH118

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from vedette.data.defects import Defect, quoted
from vedette.data.formats.numbers import read_number
from vedette.data.formats.records import (
    RawSplit,
    RowCollector,
    SplitFiles,
    read_annotation_file,
)
from vedette.data.sources import PictureList, has_picture_suffix, read_list_file, walk_pictures

if TYPE_CHECKING:
    from vedette.data.description import DatasetDescription, SplitSource

NEEDED = ("filename", "class", "xmin", "ymin", "xmax", "ymax")
OPTIONAL = ("width", "height", "difficult")

_DIFFICULT = {"": False, "0": False, "false": False, "1": True, "true": True}


def gather(description: DatasetDescription, source: SplitSource) -> SplitFiles:
    """Read the CSV file of a split, and its list of pictures if it has one."""
    label = read_annotation_file(str(source.annotations), description.file)
    folder = os.path.abspath(source.images[0])
    pictures, suffixes = PictureList(), description.picture_suffixes
    if source.list_file is not None:
        for line, entry in read_list_file(source.list_file):
            mention = (str(source.list_file), line)
            if has_picture_suffix(entry, suffixes) and "\0" not in entry:
                pictures.add(_picture_path(folder, entry), mention)
            else:
                pictures.refuse(
                    Defect(*mention, "not-a-picture", f"{quoted(entry, 200)} has no picture suffix")
                )
    for path in (path for extra in source.backgrounds for path in walk_pictures(extra, suffixes)):
        pictures.add(path)
    return SplitFiles(pictures, [label], image_folder=folder, listed=source.list_file is not None)


def _picture_path(folder: str, name: str) -> str:
    return os.path.normpath(os.path.join(folder, name.replace("\\", os.sep)))


@dataclass(slots=True)
class _Reading:
    """What has been read of one CSV file so far."""

    path: str
    folder: str
    listed: bool
    class_ids: dict[str, int]
    paths: list[str]
    mentions: dict[int, tuple[str, int]]
    number_of: dict[str, int]
    rows: RowCollector = field(default_factory=RowCollector)
    sizes_hw: dict[int, tuple[int, int]] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    bad_rows: int = 0

    def refuse(self, line: int, kind: str, text: str) -> None:
        """Record a row that is left out."""
        self.defects.append(Defect(self.path, line, kind, text))
        self.bad_rows += 1

    def picture(self, name: str, line: int) -> int | None:
        """Number of the picture that a row names; None if it belongs to another split."""
        path = _picture_path(self.folder, name)
        number = self.number_of.get(path)
        if number is None and not self.listed:
            number = self.number_of[path] = len(self.paths)
            self.mentions[number] = (self.path, line)
            self.paths.append(path)
        return number

    def mention(self, image_number: int) -> tuple[str, int]:
        """``RawSplit.mention``."""
        return self.mentions.get(image_number) or (self.paths[image_number], 0)


def parse(description: DatasetDescription, files: SplitFiles) -> RawSplit:
    """Rows and faults of the CSV file of a split."""
    label = files.labels[0]
    listed = files.pictures
    reading = _Reading(
        path=label.path,
        folder=files.image_folder,
        listed=files.listed,
        class_ids={name: number for number, name in enumerate(description.class_names)},
        paths=list(listed.paths),
        mentions=dict(listed.mentions),
        number_of={path: number for number, path in enumerate(listed.paths)},
        defects=list(listed.defects),
    )
    _read_table(reading, cast("bytes", label.data))
    rows = reading.rows.pack()
    offset = 1.0 if description.coordinates == "voc1" else 0.0
    rows.boxes[:, :2] -= offset
    sizes = np.zeros((len(reading.paths), 2), np.int32)
    for number, size_hw in reading.sizes_hw.items():
        sizes[number] = size_hw
    return RawSplit(
        image_paths=reading.paths,
        image_ids=None,
        declared_sizes_hw=sizes,
        label_paths=[label.path],
        rows=rows,
        relative=False,
        corner_offset=offset,
        defects=reading.defects,
        unusable=frozenset(),
        pictures_read=listed.entries + len(reading.paths) - len(listed.paths),
        rows_read=len(rows) + reading.bad_rows,
        mention=reading.mention,
    )


def _read_table(reading: _Reading, data: bytes) -> None:
    if data.startswith(b"\xef\xbb\xbf"):
        reading.defects.append(
            Defect(reading.path, 1, "byte-order-mark", "the file starts with a byte-order mark")
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        reading.defects.append(Defect(reading.path, line, "missing-column", "the file is not UTF-8 text"))
        return
    records = _records(text)
    _, header = next(records, (1, []))
    columns = {name.strip().lower(): position for position, name in enumerate(header or [])}
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        text = (
            f"the header has no column {quoted(missing[0])}; needed are {', '.join(NEEDED)}, split by commas"
        )
        reading.defects.append(Defect(reading.path, 1, "missing-column", text))
        return
    for line, record in records:
        if record is None:
            reading.refuse(
                line, "csv-malformed", "the line is not CSV: a quotation mark or field does not end"
            )
        elif len(record) != len(header or []):
            if record:
                reading.refuse(
                    line, "column-count", f"{len(record)} columns, the header has {len(header or [])}"
                )
        else:
            fields = {name: record[columns[name]].strip() for name in (*NEEDED, *OPTIONAL) if name in columns}
            _read_row(reading, line, fields)


def _records(text: str) -> Iterator[tuple[int, list[str] | None]]:
    """(first line, fields) of each record; None for the fields of a record that is not CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield line, None


def _read_row(reading: _Reading, line: int, fields: dict[str, str]) -> None:
    name = fields["filename"]
    if not name or not name.isprintable():
        reading.refuse(line, "missing-field", "the row names no file")
        return
    number = reading.picture(name, line)
    if number is None:
        return
    if fields["class"] not in reading.class_ids:
        text = f"class {quoted(fields['class'])} is not one of the data set's classes"
        reading.refuse(line, "class-unknown", text)
        return
    values: dict[str, float] = {}
    for column in NEEDED[2:]:
        values[column], kind = read_number(fields[column])
        if kind:
            reading.refuse(line, kind, f"{column} is {quoted(fields[column])}")
            return
    ignored = _DIFFICULT.get(fields.get("difficult", "").lower())
    if ignored is None:
        reading.refuse(line, "not-a-number", f"difficult is {quoted(fields['difficult'])}, expected 0 or 1")
        return
    sides = [read_number(fields.get(side, "")) for side in ("height", "width")]
    if not any(kind for _, kind in sides) and all(0 < value < 2**31 for value, _ in sides):
        reading.sizes_hw.setdefault(number, (int(sides[0][0]), int(sides[1][0])))
    box = (values["xmin"], values["ymin"], values["xmax"], values["ymax"])
    reading.rows.add(number, reading.class_ids[fields["class"]], box, line=line, ignored=ignored)
