"""COCO JSON: one file a split; an annotation's ``bbox`` is [x, y, width, height] in pixels.

Crowd annotations (``iscrowd``) become ignored boxes, ``area`` and the image ids are kept for evaluation. Class ids
are positions in the data set's names; without names they follow the category ids in ascending order.
"""

# Paths are strings here: a split has 100,000 of them, and Path objects cost ten times as much.
# ruff: noqa: PTH100, PTH118

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vedette.data.defects import KINDS, Defect, quoted
from vedette.data.formats.json_positions import record_lines
from vedette.data.formats.records import (
    LabelFile,
    RawSplit,
    RowCollector,
    SplitFiles,
    read_annotation_file,
)
from vedette.data.sources import PictureList, walk_pictures
from vedette.errors import DataError

if TYPE_CHECKING:
    from vedette.data.description import DatasetDescription, SplitSource


class _MalformedError(Exception):
    """The file is not JSON of the COCO form; args are line and text."""


def gather(description: DatasetDescription, source: SplitSource) -> SplitFiles:
    """Read the annotation file of a split and find its pictures without objects."""
    label = read_annotation_file(str(source.annotations), description.file)
    pictures, suffixes = PictureList(), description.picture_suffixes
    for path in (path for folder in source.backgrounds for path in walk_pictures(folder, suffixes)):
        pictures.add(path)
    return SplitFiles(pictures, [label], image_folder=os.path.abspath(source.images[0]))


def read_categories(path: Path) -> list[tuple[int, str]]:
    """(category id, name) of a COCO file, in ascending order of the ids.

    Raises:
        DataError: the file cannot be read, is malformed, or its categories are.
    """
    label = read_annotation_file(str(path), "the data set description")
    try:
        document, _ = _decode(cast("bytes", label.data))
        categories = _categories(document)
    except _MalformedError as error:
        line, text = error.args
        raise DataError(text, where=f"{path}:{line}") from None
    for _, name in categories:
        if not name or len(name) > 256 or not name.isprintable():
            raise DataError(f"category name {quoted(name)} is not 1 to 256 printable characters", where=path)
    return categories


def _decode(data: bytes) -> tuple[dict[str, Any], str]:
    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise _MalformedError(error.lineno, f"is not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise _MalformedError(data.count(b"\n", 0, error.start) + 1, "is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise _MalformedError(1, f"is not readable JSON: {str(error)[:100]}") from None
    if not isinstance(document, dict):
        raise _MalformedError(1, "is not a JSON object")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document.get(key), list):
            raise _MalformedError(1, f"lacks the list '{key}' that every COCO file has")
    return document, text


def _categories(document: dict[str, Any]) -> list[tuple[int, str]]:
    categories: dict[int, str] = {}
    for position, record in enumerate(document["categories"]):
        number, name = (record.get("id"), record.get("name")) if isinstance(record, dict) else (None, None)
        if not _is_whole(number) or not isinstance(name, str) or number in categories:
            raise _MalformedError(1, f"categories[{position}] needs a whole 'id' of its own and a 'name'")
        categories[cast("int", number)] = name.strip()
    return sorted(categories.items())


def parse(description: DatasetDescription, files: SplitFiles) -> RawSplit:
    """Rows and faults of the annotation file of a split."""
    label = files.labels[0]
    reading = _Reading(label.path)
    try:
        document, reading.text = _decode(cast("bytes", label.data))
        class_of = _class_of_category(description, document)
    except _MalformedError as error:
        line, text = error.args
        reading.defects.append(Defect(label.path, line, "json-malformed", text))
        document, class_of = {"images": [], "annotations": []}, {}
    _read_images(reading, document["images"], files.image_folder)
    reading.annotation_count = len(document["annotations"])
    for position, record in enumerate(document["annotations"]):
        _read_annotation(reading, position, record, class_of)
    reading.place_faults()
    return _split(reading, files, label)


def _split(reading: _Reading, files: SplitFiles, label: LabelFile) -> RawSplit:
    known = set(reading.paths)
    backgrounds = [path for path in files.pictures.paths if path not in known]
    count = len(reading.paths) + len(backgrounds)
    sizes = np.zeros((count, 2), np.int32)
    sizes[: len(reading.paths)] = np.array(reading.sizes_hw, np.int32).reshape(-1, 2)
    free_id = max(reading.ids, default=0) + 1
    return RawSplit(
        image_paths=reading.paths + backgrounds,
        image_ids=np.array(reading.ids + list(range(free_id, free_id + len(backgrounds))), np.int64),
        declared_sizes_hw=sizes,
        label_paths=[label.path],
        rows=reading.rows.pack(),
        relative=False,
        corner_offset=0.0,
        defects=reading.defects,
        unusable=frozenset(),
        pictures_read=count + reading.pictures_refused,
        rows_read=reading.annotation_count,
        mention=reading.mention_of(reading.paths + backgrounds),
        locate=reading.annotation_lines,
    )


def _class_of_category(description: DatasetDescription, document: dict[str, Any]) -> dict[int, int]:
    """Category id to class id, by name, for the categories that the data set's names include."""
    class_ids = {name: class_id for class_id, name in enumerate(description.class_names)}
    return {number: class_ids[name] for number, name in _categories(document) if name in class_ids}


@dataclass(slots=True)
class _Reading:
    """What has been read of one annotation file so far."""

    path: str
    text: str = "{}"
    paths: list[str] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    sizes_hw: list[tuple[int, int]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    number_of: dict[int | str, int] = field(default_factory=dict)
    pictures_refused: int = 0
    annotation_count: int = 0
    lines: dict[int, int] = field(default_factory=dict)
    rows: RowCollector = field(default_factory=RowCollector)
    faults: list[tuple[str, int, str, str]] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)

    def refuse(self, key: str, position: int, kind: str, text: str) -> None:
        """Record a fault of the record at ``position`` of the list ``key``."""
        self.faults.append((key, position, kind, f"{key}[{position}]: {text}"))
        self.pictures_refused += key == "images" and KINDS[kind].effect in ("picture", "duplicate")

    def place_faults(self) -> None:
        """Turn the faults into defects, now that the lines of all of them can be looked up in one pass."""
        for key in ("images", "annotations"):
            lines = record_lines(self.text, key, (fault[1] for fault in self.faults if fault[0] == key))
            self.defects += [
                Defect(self.path, lines.get(position, 0), kind, text)
                for fault_key, position, kind, text in self.faults
                if fault_key == key
            ]

    def annotation_lines(self, positions: Sequence[int]) -> Sequence[int]:
        """1-based lines of some annotations; all are looked up the first time, and never if nothing is at fault."""
        if not self.lines:
            every = range(self.annotation_count)
            # The published files are one line.
            one_line = "\n" not in self.text
            self.lines.update(
                dict.fromkeys(every, 1) if one_line else record_lines(self.text, "annotations", every)
            )
        return [self.lines[position] for position in positions]

    def mention_of(self, all_paths: Sequence[str]) -> Callable[[int], tuple[str, int]]:
        """``RawSplit.mention``."""
        cache: dict[int, int] = {}

        def mention(image_number: int) -> tuple[str, int]:
            if image_number >= len(self.positions):
                return all_paths[image_number], 0
            if not cache:
                cache.update(record_lines(self.text, "images", self.positions))
            return self.path, cache[self.positions[image_number]]

        return mention


def _read_images(reading: _Reading, records: list[Any], folder: str) -> None:
    number_of_path: dict[str, int] = {}
    for position, record in enumerate(records):
        image_id = record.get("id") if isinstance(record, dict) else None
        name = record.get("file_name") if isinstance(record, dict) else None
        if not _is_id(image_id) or not isinstance(name, str) or not name.strip() or not name.isprintable():
            reading.refuse("images", position, "image-record", "needs an 'id' and a 'file_name'")
            continue
        key = cast("int | str", image_id)
        if key in reading.number_of:
            reading.refuse("images", position, "image-id-twice", f"image id {quoted(key)} again")
            continue
        path = os.path.normpath(os.path.join(folder, name))
        if path in number_of_path:
            reading.number_of[key] = number_of_path[path]
            text = f"{quoted(name, 200)} again; its boxes join those of the first record"
            reading.refuse("images", position, "picture-listed-twice", text)
            continue
        reading.number_of[key] = number_of_path[path] = len(reading.paths)
        reading.paths.append(path)
        reading.positions.append(position)
        reading.ids.append(key if isinstance(key, int) else len(reading.paths))
        reading.sizes_hw.append((_side(record.get("height")), _side(record.get("width"))))


def _read_annotation(reading: _Reading, position: int, record: object, class_of: dict[int, int]) -> None:
    if not isinstance(record, dict):
        reading.refuse("annotations", position, "missing-field", "is not an object")
        return
    image_id, category, bbox = record.get("image_id"), record.get("category_id"), record.get("bbox")
    if not _is_id(image_id) or image_id not in reading.number_of:
        reading.refuse(
            "annotations", position, "image-unknown", f"image_id {quoted(image_id)} has no image record"
        )
    elif not _is_whole(category) or category not in class_of:
        text = f"category_id {quoted(category)} is not one of the data set's classes"
        reading.refuse("annotations", position, "class-unknown", text)
    elif bbox is None:
        reading.refuse("annotations", position, "missing-field", "has no 'bbox'")
    elif not isinstance(bbox, list) or len(bbox) != 4:
        reading.refuse("annotations", position, "bbox-length", f"bbox is {quoted(bbox)}, not four numbers")
    else:
        kind = next(filter(None, map(_number_fault, bbox)), "")
        if kind:
            reading.refuse("annotations", position, kind, f"bbox is {quoted(bbox)}")
            return
        x, y, width, height = (float(value) for value in bbox)
        area = record.get("area")
        reading.rows.add(
            reading.number_of[cast("int | str", image_id)],
            class_of[cast("int", category)],
            (x, y, x + width, y + height),
            line=position,
            ignored=bool(record.get("iscrowd")),
            area=math.nan if _number_fault(area) else float(cast("float", area)),
        )


def _number_fault(value: object) -> str:
    """The kind of defect that a value is as a coordinate, or "" if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "not-a-number"
    if value != value:  # noqa: PLR0124
        return "nan"
    return "infinite" if abs(value) > 1e12 else ""


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62


def _is_id(value: object) -> bool:
    return _is_whole(value) or isinstance(value, str)


def _side(value: object) -> int:
    """A stated side of a picture; 0 if it is none."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 2**31
    return int(cast("float", value)) if usable else 0
