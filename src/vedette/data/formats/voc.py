"""Pascal VOC XML: one file a picture, ``<object>`` with ``<name>``, ``<bndbox>`` and perhaps ``<difficult>``.

VOC counts pixels from 1 and includes the last one, so a box is (xmin - 1, ymin - 1, xmax, ymax) in edges; with
``coordinates: edges`` the numbers are edges already. Difficult objects become ignored boxes.

The XML is read by expat alone: a document type declaration, and with it every entity, is refused.
"""

# Paths are strings here: a split has 100,000 of them, and Path objects cost ten times as much.
# ruff: noqa: PTH100, PTH112, PTH118, PTH119, PTH122

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

import numpy as np

from vedette.data.defects import KINDS, Defect, quoted
from vedette.data.formats.numbers import read_number
from vedette.data.formats.records import (
    RawSplit,
    RowCollector,
    SplitFiles,
    picture_mentions,
    read_label_file,
)
from vedette.data.sources import PictureList, read_list_file, walk_pictures
from vedette.errors import DataError

if TYPE_CHECKING:
    from vedette.data.description import DatasetDescription, SplitSource

CORNERS = ("xmin", "ymin", "xmax", "ymax")

_LIST_FLAG = re.compile(r"\s+(?:-1|0|1)$")
_TAGS_OF_FILE = frozenset({"filename", "size/width", "size/height"})
_TAGS_OF_OBJECT = {
    "object/name": "name",
    "object/difficult": "difficult",
    **{f"object/bndbox/{corner}": corner for corner in CORNERS},
}


@dataclass(slots=True)
class ObjectText:
    """One ``<object>``: the line it starts on and the text of the tags of interest."""

    line: int
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class AnnotationText:
    """What one annotation file says, as text.

    Attributes:
        tags: text of ``filename``, ``size/width`` and ``size/height``.
        lines: the line of each of these.
        objects: in order.
    """

    tags: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    objects: list[ObjectText] = field(default_factory=list)


class AnnotationError(Exception):
    """An annotation file that cannot be used; args are line, kind and text."""


def gather(description: DatasetDescription, source: SplitSource) -> SplitFiles:
    """Find the pictures of a split and read their annotation files."""
    folder = os.path.abspath(source.images[0])
    annotations = os.path.abspath(str(source.annotations))
    for needed in (folder, annotations):
        if not os.path.isdir(needed):
            raise DataError("there is no such folder", where=needed, fix=f"correct {description.file}")
    pictures, suffixes = PictureList(), description.picture_suffixes
    found = sorted(walk_pictures(source.images[0], suffixes), reverse=True)
    path_of = {_stem(path, folder): path for path in found}
    stems = _add_pictures(pictures, source, path_of, (folder, annotations))
    labels = [read_label_file(os.path.join(annotations, *stem.split("/")) + ".xml") for stem in stems]
    for path in (path for extra in source.backgrounds for path in walk_pictures(extra, suffixes)):
        before = len(pictures.paths)
        pictures.add(path)
        if len(pictures.paths) > before:
            labels.append(read_label_file(os.path.splitext(path)[0] + ".xml"))
    return SplitFiles(pictures, labels)


def _stem(path: str, folder: str) -> str:
    return os.path.splitext(path)[0][len(folder) :].replace(os.sep, "/").strip("/")


def _add_pictures(
    pictures: PictureList, source: SplitSource, path_of: dict[str, str], folders: tuple[str, str]
) -> list[str]:
    """Add the listed pictures, or all that have a file in either folder; returns the stem of each."""
    image_folder, annotations = folders
    if source.list_file is not None:
        listed = [
            (_LIST_FLAG.sub("", entry), (str(source.list_file), line))
            for line, entry in read_list_file(source.list_file)
        ]
    else:
        files = sorted(os.path.join(base, name) for base, _, names in os.walk(annotations) for name in names)
        of_labels = {_stem(path, annotations): (path, 1) for path in files if path.lower().endswith(".xml")}
        of_pictures = {stem: (path, 0) for stem, path in path_of.items()}
        listed = sorted({**of_pictures, **of_labels}.items())
    stems = []
    for entry, mention in listed:
        stem = entry if entry in path_of else os.path.splitext(entry)[0] if _names_file(entry) else entry
        if "\0" in stem:
            pictures.refuse(Defect(*mention, "not-a-picture", f"{quoted(entry)} is no file name"))
            continue
        before = len(pictures.paths)
        pictures.add(path_of.get(stem) or os.path.join(image_folder, stem + ".jpg"), mention)
        stems += [stem] * (len(pictures.paths) - before)
    return stems


def _names_file(entry: str) -> bool:
    return entry.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".webp"))


def parse(description: DatasetDescription, files: SplitFiles) -> RawSplit:
    """Rows and faults of all annotation files of a split."""
    class_ids = {name: number for number, name in enumerate(description.class_names)}
    rows = RowCollector()
    defects = list(files.pictures.defects)
    sizes = np.zeros((len(files.pictures.paths), 2), np.int32)
    size_lines: dict[int, int] = {}
    unusable = set()
    for number, label in enumerate(files.labels):
        if label.data is None:
            defects.append(Defect(label.path, 0, label.kind, label.text))
            if KINDS[label.kind].effect == "picture":
                unusable.add(number)
            continue
        try:
            annotation = read_annotation(label.data)
        except AnnotationError as fault:
            defects.append(Defect(label.path, *fault.args))
            unusable.add(number)
            continue
        defects += _file_name_faults(annotation, label.path, files.pictures.paths[number])
        size_lines[number] = annotation.lines.get("size/width", 1)
        sizes[number] = [_side(annotation.tags.get(f"size/{side}", "")) for side in ("height", "width")]
        for item in annotation.objects:
            fault_of_row = _add_object(rows, number, item, class_ids)
            if fault_of_row:
                defects.append(Defect(label.path, item.line, *fault_of_row))
    packed = rows.pack()
    offset = 1.0 if description.coordinates == "voc1" else 0.0
    packed.boxes[:, :2] -= offset
    return RawSplit(
        image_paths=files.pictures.paths,
        image_ids=None,
        declared_sizes_hw=sizes,
        label_paths=[label.path for label in files.labels],
        rows=packed,
        relative=False,
        corner_offset=offset,
        defects=defects,
        unusable=frozenset(unusable),
        pictures_read=files.pictures.entries,
        rows_read=len(packed) + sum(defect.effect == "row" for defect in defects),
        mention=picture_mentions(files.pictures),
        size_lines=size_lines,
    )


def _file_name_faults(annotation: AnnotationText, path: str, picture: str) -> list[Defect]:
    stated = annotation.tags.get("filename", "").strip()
    stem = re.split(r"[\\/]", stated)[-1].rpartition(".")[0] or stated
    if not stated or stem == os.path.splitext(os.path.basename(picture))[0]:
        return []
    text = f"<filename> is {quoted(stated)}, the picture is {quoted(os.path.basename(picture))}"
    return [Defect(path, annotation.lines["filename"], "filename-mismatch", text)]


def _side(text: str) -> int:
    value, kind = read_number(text.strip())
    return int(value) if not kind and 0 < value < 2**31 else 0


def _add_object(
    rows: RowCollector, image_number: int, item: ObjectText, class_ids: dict[str, int]
) -> tuple[str, str] | None:
    """Add one object as a row, or return kind and text of its fault."""
    missing = [tag for tag in ("name", *CORNERS) if not item.tags.get(tag, "").strip()]
    if missing:
        return "missing-tag", f"<object> has no <{missing[0]}>"
    name = item.tags["name"].strip()
    if name not in class_ids:
        return "class-unknown", f"class {quoted(name)} is not one of the data set's classes"
    corners = []
    for tag in CORNERS:
        value, kind = read_number(item.tags[tag].strip())
        if kind:
            return kind, f"<{tag}> is {quoted(item.tags[tag].strip())}"
        corners.append(value)
    difficult = item.tags.get("difficult", "0").strip()
    if difficult not in ("", "0", "1"):
        return "not-a-number", f"<difficult> is {quoted(difficult)}, expected 0 or 1"
    box = (corners[0], corners[1], corners[2], corners[3])
    rows.add(image_number, class_ids[name], box, line=item.line, ignored=difficult == "1")
    return None


def read_annotation(data: bytes) -> AnnotationText:
    """Read one annotation file.

    Raises:
        AnnotationError: it is not well-formed, its root is not ``<annotation>``, or it declares a document type.
    """
    reader = _AnnotationReader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise AnnotationError(
            error.lineno, "xml-malformed", f"is not XML: {expat.ErrorString(error.code)}"
        ) from None
    except (ValueError, LookupError) as error:
        raise AnnotationError(1, "xml-malformed", f"is not readable XML: {str(error)[:100]}") from None
    return reader.result


class _AnnotationReader:
    """Handlers of expat. Tags are told apart by their whole path, so that nested parts do not count."""

    def __init__(self) -> None:
        self.result = AnnotationText()
        self.open_tags: list[str] = []
        self.text: list[str] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.text.append
        self.parser.StartDoctypeDeclHandler = self.refuse_doctype

    def refuse_doctype(self, *_: object) -> None:
        raise AnnotationError(
            self.parser.CurrentLineNumber, "xml-doctype", "declares a document type, which is refused"
        )

    def start(self, tag: str, _: Sequence[str]) -> None:
        if not self.open_tags and tag != "annotation":
            text = f"the root is <{quoted(tag)[1:-1]}>, expected <annotation>"
            raise AnnotationError(self.parser.CurrentLineNumber, "xml-malformed", text)
        self.open_tags.append(tag)
        self.text.clear()
        if self.open_tags == ["annotation", "object"]:
            self.result.objects.append(ObjectText(self.parser.CurrentLineNumber))

    def end(self, _: str) -> None:
        path = "/".join(self.open_tags[1:]) if len(self.open_tags) <= 4 else ""
        self.open_tags.pop()
        if path in _TAGS_OF_FILE:
            self.result.tags[path] = "".join(self.text)
            self.result.lines[path] = self.parser.CurrentLineNumber
        elif path in _TAGS_OF_OBJECT:
            self.result.objects[-1].tags[_TAGS_OF_OBJECT[path]] = "".join(self.text)
        self.text.clear()
