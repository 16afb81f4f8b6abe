"""Every kind of fault that a data set can have, what it means and what becomes of the row or picture."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

Effect = Literal["row", "duplicate", "picture", "file", "kept", "note"]
"""What becomes of the thing that a defect names.

=========  =====================================================================================
row        the row is wrong: it is left out and counts as bad
duplicate  the row, or the picture in a list, repeats another: it is left out, harmless
picture    the picture is left out with all its rows and counts as bad
file       the annotation file as a whole cannot be used; no index is made
kept       doubtful; used as it stands
note       information; nothing is wrong
=========  =====================================================================================
"""


class DefectKind(NamedTuple):
    """What becomes of the thing, and what the kind means in one sentence."""

    effect: Effect
    meaning: str


KINDS: dict[str, DefectKind] = {
    # The text of a row
    "byte-order-mark": DefectKind("kept", "the file starts with a UTF-8 byte-order mark; it is skipped"),
    "utf-16": DefectKind("row", "the file is UTF-16 text; label files are ASCII or UTF-8"),
    "nul-byte": DefectKind("row", "the line holds a NUL byte"),
    "binary": DefectKind("row", "the line holds control characters or is not UTF-8 text"),
    "comment": DefectKind("kept", "a comment line; the format has none, so it is passed over"),
    "blank-line": DefectKind("note", "an empty line between rows"),
    "column-count": DefectKind("row", "the number of columns is not the format's"),
    "polygon": DefectKind("note", "polygon rows were read as the boxes around them"),
    "polygon-odd": DefectKind("row", "a polygon with an odd number of coordinates"),
    "comma-separated": DefectKind("row", "commas between the columns instead of blanks"),
    "decimal-comma": DefectKind("row", "a number with a decimal comma"),
    "hexadecimal": DefectKind("row", "a hexadecimal number"),
    "underscore": DefectKind("row", "a number with an underscore in it"),
    "nan": DefectKind("row", "a number is NaN"),
    "infinite": DefectKind("row", "a number is infinite or absurdly large"),
    "not-a-number": DefectKind("row", "text where a number is expected"),
    # The class of a row
    "class-text": DefectKind("row", "the class is a word where its number is expected"),
    "class-negative": DefectKind("row", "the class number is negative"),
    "class-not-integer": DefectKind("row", "the class number is not whole"),
    "class-range": DefectKind("row", "the class number is not below the number of classes"),
    "class-unknown": DefectKind("row", "the class name or category is not among the data set's classes"),
    # The box of a row
    "out-of-range": DefectKind("row", "a relative coordinate lies outside 0..1"),
    "pixel-coordinates": DefectKind("row", "pixels where coordinates relative to the picture are expected"),
    "relative-coordinates": DefectKind("row", "coordinates within 0..1 where pixels are expected"),
    "zero-size": DefectKind("row", "the box has no width or no height"),
    "inverted": DefectKind("row", "the box has a negative width or height: its corners are swapped"),
    "outside": DefectKind("row", "the box lies outside the picture"),
    "tiny": DefectKind("kept", "the box is less than one pixel wide or high"),
    "crosses-edge": DefectKind("kept", "the box reaches more than half a pixel over the picture's edge"),
    "duplicate": DefectKind("duplicate", "the row repeats an earlier row of the picture"),
    "near-duplicate": DefectKind("kept", "almost the same box, with the same class, as an earlier row"),
    "same-box-two-classes": DefectKind("kept", "exactly the same box as an earlier row, with another class"),
    # Label files
    "no-label-file": DefectKind("note", "no label file: the picture is used as background"),
    "label-is-folder": DefectKind("picture", "the label path is a folder"),
    "label-unreadable": DefectKind("picture", "the label file cannot be read"),
    "label-too-large": DefectKind("picture", "the label file is larger than any label file can be"),
    "label-without-picture": DefectKind("kept", "a label file to which there is no picture; it is not used"),
    "missing-field": DefectKind("row", "a record lacks a field that it must have, or it has another type"),
    "bbox-length": DefectKind("row", "a COCO bbox that is not four numbers"),
    "image-unknown": DefectKind("row", "an annotation names an image id that no image record has"),
    "image-id-twice": DefectKind("picture", "an image record repeats the id of an earlier one"),
    "image-record": DefectKind("picture", "an image record without a usable id or file name"),
    "json-malformed": DefectKind("file", "the file is not JSON of the COCO form"),
    "xml-malformed": DefectKind("picture", "the file is not well-formed XML with an <annotation> root"),
    "xml-doctype": DefectKind("picture", "the XML declares a document type or entities, which is refused"),
    "missing-tag": DefectKind("row", "an <object> lacks a tag that it must have"),
    "filename-mismatch": DefectKind("kept", "<filename> names another file than the picture it belongs to"),
    "missing-column": DefectKind("file", "the CSV header lacks a column, or the file has no readable header"),
    "csv-malformed": DefectKind("row", "the line is not CSV"),
    # Labelled classes
    "class-not-labelled": DefectKind(
        "kept", "a box of a class that is not labelled in its picture; it is used as an ignored box"
    ),
    "labelled-malformed": DefectKind("file", "a line of the file of labelled classes cannot be read"),
    "labelled-class-unknown": DefectKind(
        "file", "a class is called labelled that the data set does not have"
    ),
    "labelled-place-unknown": DefectKind("file", "labelled classes of a picture or folder that is not there"),
    "labelled-twice": DefectKind("file", "labelled classes of a picture or folder are given a second time"),
    # Pictures
    "picture-missing": DefectKind("picture", "a list or annotation names a picture that is not there"),
    "picture-unreadable": DefectKind("picture", "the picture's header cannot be read or is refused"),
    "picture-damaged": DefectKind("picture", "the header is sound, but the picture cannot be decoded"),
    "picture-too-small": DefectKind("picture", "the picture is less than 10 pixels wide or high"),
    "picture-converted": DefectKind(
        "note", "the picture has other channels or bits than the description says, and is converted"
    ),
    "picture-listed-twice": DefectKind("duplicate", "the list names the picture a second time"),
    "picture-in-two-splits": DefectKind("kept", "the picture belongs to two splits"),
    "not-a-picture": DefectKind("picture", "a list entry whose suffix is not that of a picture"),
    "size-mismatch": DefectKind("kept", "the annotation states another size than the picture has"),
}
"""The closed set of kinds."""


@dataclass(frozen=True, slots=True, order=True)
class Defect:
    """One fault at one place.

    Attributes:
        path: the file it is in.
        line: 1-based line of that file; 0 if it concerns the file as a whole.
        kind: a key of ``KINDS``.
        text: what is wrong, in words.
    """

    path: str
    line: int
    kind: str
    text: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of defect: {self.kind}")

    @property
    def effect(self) -> Effect:
        """What becomes of the row or picture."""
        return KINDS[self.kind].effect

    @property
    def bad(self) -> bool:
        """Whether something cannot be used; repeated rows and pictures do not count."""
        return self.effect in ("row", "picture", "file")

    @property
    def place(self) -> str:
        """``path:line``, or the path if the whole file is meant; control characters are escaped."""
        return printable(f"{self.path}:{self.line}" if self.line else self.path)

    def __str__(self) -> str:
        """``path:line: kind: text``, on one line."""
        return f"{self.place}: {self.kind}: {printable(self.text)}"

    def to_json(self) -> dict[str, str | int]:
        """JSON-ready: ``path``, ``line``, ``kind``, ``text``."""
        return asdict(self)


def printable(text: str) -> str:
    """``text`` with control characters and lone surrogates escaped, so that it cannot break a line or terminal."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def quoted(token: object, limit: int = 40) -> str:
    """A foreign token for a message: in quotation marks, escaped, at most ``limit`` characters of it."""
    text = str(token)
    return f"'{printable(text[:limit])}{'…' if len(text) > limit else ''}'"


def pack_defects(defects: Iterable[Defect]) -> bytes:
    """Defects as UTF-8 JSON: small, and cheap to hand to another process."""
    rows = [(defect.path, defect.line, defect.kind, defect.text) for defect in defects]
    return json.dumps(rows).encode()


def unpack_defects(packed: bytes) -> tuple[Defect, ...]:
    """Undo ``pack_defects``. Raises ValueError or TypeError on foreign content."""
    return tuple(
        Defect(str(path), int(line), kind, str(text)) for path, line, kind, text in json.loads(packed)
    )
