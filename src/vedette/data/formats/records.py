"""What every format reader delivers: the rows of a split as packed arrays, and the faults it met."""

# Paths are strings here: a split has 100,000 of them, and Path objects cost ten times as much.
# ruff: noqa: PTH112, PTH123

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vedette.core.types import BoolArray, IntArray
from vedette.data.defects import Defect
from vedette.data.labelled import ALL_LABELLED, LabelledRules
from vedette.data.sources import PictureList, relative_path
from vedette.errors import DataError

MAX_LABEL_BYTES = 4_000_000
"""Largest label file of one picture; about 100,000 boxes."""

MAX_ANNOTATION_BYTES = 4_000_000_000
"""Largest annotation file of a whole split."""


@dataclass(frozen=True, slots=True)
class LabelFile:
    """One file that holds labels, as read.

    Attributes:
        path: absolute path.
        data: its bytes; None if there are none to parse.
        kind: why ``data`` is None: a kind of defect.
        text: the same in words.
    """

    path: str
    data: bytes | None
    kind: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class SplitFiles:
    """Everything that decides the labels of a split, read but not parsed.

    Attributes:
        pictures: the pictures known before parsing (COCO and CSV files may name more).
        labels: the label file of each picture, or the one annotation file of the split.
        image_folder: the folder to which the annotation file's picture names are relative, where it has names.
        listed: whether ``pictures`` comes from a list that decides which pictures belong to the split.
        labelled: which classes are labelled in which pictures, their file read.
    """

    pictures: PictureList
    labels: Sequence[LabelFile]
    image_folder: str = ""
    listed: bool = False
    labelled: LabelledRules = ALL_LABELLED

    def digest(self, root: str) -> str:
        """SHA-256 over the content of all files that say what is where, and the paths of labels and pictures."""
        result = hashlib.sha256()
        mentions = self.pictures.mentions
        for number, path in enumerate(self.pictures.paths):
            result.update(f"{relative_path(path, root)}\0{mentions.get(number)}\n".encode(errors="replace"))
        for defect in self.pictures.defects:
            result.update(f"{defect!r}\n".encode(errors="replace"))
        for line, text in self.labelled.lines:
            result.update(f"{line} {text}\n".encode(errors="replace"))
        for label in self.labels:
            result.update(f"{label.path}\0{label.kind}\n".encode(errors="replace"))
            if label.data is not None:
                result.update(len(label.data).to_bytes(8, "little"))
                result.update(label.data)
        return result.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class RawRows:
    """Rows as a format states them, in the order of the file; R of them.

    Attributes:
        image_numbers: int64 [R], position in ``RawSplit.image_paths``.
        class_values: float64 [R]; not yet checked to be whole or in range.
        boxes: float64 [R, 4]; (cx, cy, w, h) in 0..1 if ``RawSplit.relative``, else (x1, y1, x2, y2) in pixels.
        lines: int64 [R], 1-based line, or the position of the record (see ``RawSplit.locate``).
        ignored: bool [R].
        areas: float64 [R]; NaN where the format states none.
    """

    image_numbers: IntArray
    class_values: NDArray[np.float64]
    boxes: NDArray[np.float64]
    lines: IntArray
    ignored: BoolArray
    areas: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(slots=True)
class RowCollector:
    """Rows of a format that is read one record at a time."""

    image_numbers: list[int] = field(default_factory=list)
    class_values: list[float] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    def add(
        self,
        image_number: int,
        class_value: float,
        box: tuple[float, float, float, float],
        *,
        line: int,
        ignored: bool = False,
        area: float = float("nan"),
    ) -> None:
        """Add one row; units as in ``RawRows``."""
        self.image_numbers.append(image_number)
        self.class_values.append(class_value)
        self.boxes.append(box)
        self.lines.append(line)
        self.ignored.append(ignored)
        self.areas.append(area)

    def pack(self) -> RawRows:
        """The rows as arrays."""
        return RawRows(
            image_numbers=np.array(self.image_numbers, np.int64),
            class_values=np.array(self.class_values, np.float64),
            boxes=np.array(self.boxes, np.float64).reshape(-1, 4),
            lines=np.array(self.lines, np.int64),
            ignored=np.array(self.ignored, np.bool_),
            areas=np.array(self.areas, np.float64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class RawSplit:
    """A split as its format states it; pictures have not been looked at.

    Attributes:
        image_paths: absolute paths, each once.
        image_ids: COCO image ids, or None where the format has none.
        declared_sizes_hw: int32 [n, 2], the size that the annotation states; 0 where it states none.
        label_paths: label file of each picture; a single one if it serves all.
        rows: rows that could be read.
        relative: whether boxes are (cx, cy, w, h) in 0..1.
        corner_offset: what has been subtracted from the file's x1 and y1 (1 for VOC's 1-based inclusive pixels).
        defects: faults met on the way.
        unusable: pictures (by number) whose labels could not be read: they are left out.
        pictures_read: pictures that the split names, those left out while reading included.
        rows_read: rows in the files, those left out while reading included.
        mention: the file and line that names a picture (line 0 if a folder was searched).
        size_lines: line of the stated size in the picture's own label file, where it has one.
        locate: turns the position of a record into its line; None where ``rows.lines`` are lines.
    """

    image_paths: Sequence[str]
    image_ids: IntArray | None
    declared_sizes_hw: NDArray[np.int32]
    label_paths: Sequence[str]
    rows: RawRows
    relative: bool
    corner_offset: float
    defects: Sequence[Defect]
    unusable: frozenset[int]
    pictures_read: int
    rows_read: int
    mention: Callable[[int], tuple[str, int]]
    size_lines: Mapping[int, int] = field(default_factory=dict)
    locate: Callable[[Sequence[int]], Sequence[int]] | None = None

    def label_path(self, image_number: int) -> str:
        """The file that holds the labels of a picture."""
        return self.label_paths[image_number if len(self.label_paths) > 1 else 0]

    def lines_of(self, row_numbers: IntArray) -> Sequence[int]:
        """1-based lines of some rows."""
        lines = [int(line) for line in self.rows.lines[row_numbers]]
        return lines if self.locate is None else self.locate(lines)


def read_label_file(path: str, limit: int = MAX_LABEL_BYTES) -> LabelFile:
    """Read one label file; a missing, unreadable or oversized one is told by ``kind``."""
    try:
        with open(path, "rb", buffering=0) as stream:
            if os.fstat(stream.fileno()).st_size > limit:
                return LabelFile(path, None, "label-too-large", f"is larger than {limit} bytes")
            return LabelFile(path, stream.read())
    except (FileNotFoundError, NotADirectoryError):
        return LabelFile(path, None, "no-label-file", "the picture is used as background")
    except OSError as error:
        if os.path.isdir(path):
            return LabelFile(path, None, "label-is-folder", "is a folder, not a label file")
        return LabelFile(path, None, "label-unreadable", f"cannot be read ({error.strerror})")
    except ValueError as error:
        return LabelFile(path, None, "label-unreadable", f"is no usable path ({error})")


def read_annotation_file(path: str, description_file: object) -> LabelFile:
    """Read the one annotation file of a split.

    Raises:
        DataError: it is not there, cannot be read, or is too large.
    """
    label = read_label_file(path, MAX_ANNOTATION_BYTES)
    if label.data is None:
        what = "there is no such annotation file" if label.kind == "no-label-file" else label.text
        raise DataError(what, where=path, fix=f"correct {description_file}")
    return label


def picture_mentions(pictures: PictureList) -> Callable[[int], tuple[str, int]]:
    """``RawSplit.mention`` for pictures that were listed or found in a folder."""

    def mention(image_number: int) -> tuple[str, int]:
        return pictures.mentions.get(image_number) or (pictures.paths[image_number], 0)

    return mention
