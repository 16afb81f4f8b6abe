"""Which pictures belong to a split, and where the label file of a picture lies.

A source is a folder (all pictures below it), a text file with one picture path a line, or several of both.
Everything ends up as absolute paths; the order of the pictures is settled later, when the index is built.
"""

# Paths are strings here: a split has 100,000 of them, and Path objects cost ten times as much.
# ruff: noqa: PTH100, PTH110, PTH117, PTH118

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vedette.data.defects import Defect, quoted
from vedette.errors import DataError

PICTURE_SUFFIXES = frozenset({"bmp", "dng", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"})
"""Suffixes by which a file is taken for a picture; what it really holds is decided by its first bytes."""

SAMPLE_SUFFIXES = PICTURE_SUFFIXES | {"npy"}
"""The same for pictures that are not 8-bit RGB. Beside those, ``.npy`` files are mostly caches of other programs."""

MAX_LIST_BYTES = 512_000_000

_IMAGES_FOLDER = re.compile(r"[\\/]images(?=[\\/])")


@dataclass(slots=True)
class PictureList:
    """Pictures of a split while they are being collected.

    Attributes:
        paths: absolute paths, each once, in the order in which they were found.
        mentions: picture number to (file, line) of the list that names it, where a list does.
        defects: what was wrong with the entries that are not in ``paths``.
        entries: how many entries were read, those left out included.
    """

    paths: list[str] = field(default_factory=list)
    mentions: dict[int, tuple[str, int]] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    entries: int = 0
    _seen: set[str] = field(default_factory=set)

    def add(self, path: str, mention: tuple[str, int] | None = None) -> None:
        """Add a picture once; a repeated one named by a list is recorded as a defect."""
        path = os.path.normpath(path)
        if path in self._seen:
            if mention is not None:
                self.entries += 1
                self.defects.append(Defect(*mention, "picture-listed-twice", f"{quoted(path, 200)} again"))
            return
        self.entries += 1
        self._seen.add(path)
        if mention is not None:
            self.mentions[len(self.paths)] = mention
        self.paths.append(path)

    def refuse(self, defect: Defect) -> None:
        """Record an entry that is left out."""
        self.entries += 1
        self.defects.append(defect)


def collect_pictures(
    sources: Iterable[Path], roots: Sequence[Path], suffixes: Collection[str] = PICTURE_SUFFIXES
) -> PictureList:
    """All pictures of ``sources``.

    Args:
        sources: folders and list files.
        roots: folders against which relative entries of a list file are tried, after the list's own folder.
        suffixes: of pictures.

    Raises:
        DataError: a source is not there or cannot be read.
    """
    pictures = PictureList()
    for source in sources:
        if source.is_dir():
            for path in walk_pictures(source, suffixes):
                pictures.add(path)
        elif source.is_file():
            _add_listed(pictures, source, roots, suffixes)
        else:
            raise DataError(
                "there is no such folder or list file", where=source, fix="correct the data set description"
            )
    return pictures


def walk_pictures(folder: Path, suffixes: Collection[str] = PICTURE_SUFFIXES) -> list[str]:
    """Absolute paths of all files below ``folder`` that have a picture's suffix, in no particular order.

    Links to folders are followed, each real folder once. Raises DataError if a folder cannot be read.
    """
    found: list[str] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise DataError(f"the folder cannot be read ({error.strerror})", where=error.filename or folder)

    for base, folders, files in os.walk(os.path.abspath(folder), onerror=refuse, followlinks=True):
        real = os.path.realpath(base)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        found += [os.path.join(base, name) for name in files if has_picture_suffix(name, suffixes)]
    return found


def has_picture_suffix(name: str, suffixes: Collection[str] = PICTURE_SUFFIXES) -> bool:
    """Whether the text after the last dot is that of a picture file, in capitals or not."""
    return name.rpartition(".")[2].lower() in suffixes


def read_list_file(path: Path) -> list[tuple[int, str]]:
    """(line number, entry) of each line of a list file that is not blank. Raises DataError."""
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise DataError(f"is larger than {MAX_LIST_BYTES} bytes", where=path)
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 text (byte {error.start})", where=path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from None
    entries = ((number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [(number, entry) for number, entry in entries if entry]


def _add_listed(
    pictures: PictureList, list_file: Path, roots: Sequence[Path], suffixes: Collection[str]
) -> None:
    for line, entry in read_list_file(list_file):
        mention = (str(list_file), line)
        if "\0" in entry or not has_picture_suffix(entry, suffixes):
            text = f"{quoted(entry, 200)} has no picture suffix ({', '.join(sorted(suffixes))})"
            pictures.refuse(Defect(*mention, "not-a-picture", text))
        else:
            pictures.add(_locate_entry(entry, list_file.parent, roots), mention)


def _locate_entry(entry: str, list_folder: Path, roots: Sequence[Path]) -> str:
    """The picture that a list's entry names: ``./x`` beside the list; other relative ones where they exist."""
    if os.path.isabs(entry):
        return entry
    if "\\" in entry and os.sep == "/":
        entry = entry.replace("\\", "/")
    beside = os.path.abspath(os.path.join(list_folder, entry))
    if entry.startswith("./") or os.path.exists(beside):
        return beside
    candidates = (os.path.abspath(os.path.join(root, entry)) for root in roots)
    return next((path for path in candidates if os.path.exists(path)), beside)


def label_path(image_path: str, release: Literal["v4.0", "v7.0"] = "v4.0") -> str:
    """Where a release of the reference looks for the label file of a picture; purely textual.

    v4.0: the first ``/images/`` becomes ``/labels/``, and every occurrence of "." and the suffix becomes
    ``.txt``. v7.0: the last ``/images/``, and only the suffix at the end.
    """
    suffix = image_path.rpartition(".")[2]
    folders = list(_IMAGES_FOLDER.finditer(image_path))
    if folders:
        chosen = folders[0] if release == "v4.0" else folders[-1]
        image_path = image_path[: chosen.start() + 1] + "labels" + image_path[chosen.end() :]
    if release == "v4.0":
        return image_path.replace("." + suffix, ".txt")
    return image_path[: -len(suffix)] + "txt"


def find_label_path(image_path: str) -> str:
    """The label path of v4.0, or that of v7.0 where only that one exists."""
    first = label_path(image_path)
    if image_path.count("images") < 2 and image_path.count("." + image_path.rpartition(".")[2]) == 1:
        return first  # both rules agree
    last = label_path(image_path, "v7.0")
    return last if first != last and not os.path.exists(first) and os.path.exists(last) else first


def relative_path(path: str, root: str) -> str:
    """``path`` relative to ``root`` with forward slashes; as it is where there is no such path (another drive)."""
    prefix = root.rstrip("\\/") + os.sep
    if path.startswith(prefix):
        return path[len(prefix) :].replace(os.sep, "/")
    try:
        return os.path.relpath(path, root).replace(os.sep, "/")
    except ValueError:
        return path.replace(os.sep, "/")
