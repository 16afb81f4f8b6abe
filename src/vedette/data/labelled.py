"""Partial labels: which classes are labelled in which picture.

A class is *labelled* in a picture if all its objects there have a box; of any other class nothing is known there.
A split of a description says so with ``labelled``, in one of three forms:

    train: {images: images/train, labelled: [cat]}                        # in every picture
    train: {images: images, labelled: {one: [cat], two/7.jpg: [dog]}}     # by folder or picture
    train: {images: images, labelled: labelled.csv}                       # the same in a file

The file has one line a folder or picture: its path, then the class names, separated by commas and quoted as in CSV.
The nearest entry holds: that of the picture, else of its folder, else of the folder above. Where there is none, all
classes are labelled. Relative paths are taken as everywhere in the description.

With ``objectness: unknown`` beside it, the part of such a picture that no box covers is not taken for background:
no object is learned to be absent there. Otherwise it is, whatever lies there: objectness has no classes.
"""

# Paths are strings here: a split has 100,000 of them, and Path objects cost ten times as much.
# ruff: noqa: PTH110, PTH118, PTH120

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vedette.core.types import BoolArray, IntArray
from vedette.data.defects import Defect, quoted
from vedette.data.sources import read_list_file
from vedette.errors import ConfigError, DataError, nearest

_EVERYWHERE = ""
_ALL_CLASSES = 0


@dataclass(frozen=True, slots=True)
class LabelledRules:
    """What a description says about the labelled classes of a split; by default that all are, everywhere.

    Attributes:
        places: (picture or folder, class names); an empty path stands for every picture.
        file: a file with more of these; None: there is none.
        background_unknown: ``objectness: unknown``, for pictures where not all classes are labelled.
        lines: (number, text) of the lines of ``file``, once it was read.
    """

    places: tuple[tuple[str, tuple[str, ...]], ...] = ()
    file: Path | None = None
    background_unknown: bool = False
    lines: tuple[tuple[int, str], ...] = ()

    def read(self) -> LabelledRules:
        """The rules with the lines of their file. Raises DataError if it is not there or cannot be read."""
        return self if self.file is None else replace(self, lines=tuple(read_list_file(self.file)))


ALL_LABELLED = LabelledRules()


def parse_labelled(
    split: Mapping[object, object], class_names: Sequence[str], roots: Sequence[Path], where: str
) -> LabelledRules:
    """The rules of a split that is written as a mapping.

    Args:
        split: its keys and values; ``labelled`` and ``objectness`` are read.
        class_names: of the data set.
        roots: folders against which relative paths are tried, in order.
        where: file and key of the split, for messages.

    Raises:
        ConfigError: a value of another form, or a class that the data set does not have.
        DataError: there is no such file, picture or folder.
    """
    value, objectness = split.get("labelled"), split.get("objectness")
    if objectness not in (None, "unknown", "background"):
        what = f"unknown value {str(objectness)[:60]!r}"
        raise ConfigError(what, where=f"{where}.objectness", fix="write unknown or background")
    if value is None:
        if objectness is not None:
            raise ConfigError(
                "has a meaning only where not all classes are labelled",
                where=f"{where}.objectness",
                fix="add 'labelled' or leave it out",
            )
        return ALL_LABELLED
    unknown, place = objectness == "unknown", f"{where}.labelled"
    if isinstance(value, str):
        return LabelledRules(file=_existing(value, roots, place), background_unknown=unknown)
    if isinstance(value, dict) and value:
        places = tuple(
            (str(_existing(key, roots, place)), _known_names(names, class_names, f"{place}.{key}"))
            for key, names in value.items()
        )
        return LabelledRules(places, background_unknown=unknown)
    names = _known_names(value, class_names, place)
    if not names:
        raise ConfigError("expected at least one class name", where=place)
    return LabelledRules(((_EVERYWHERE, names),), background_unknown=unknown)


def _existing(text: object, roots: Sequence[Path], where: str) -> Path:
    if not isinstance(text, str) or not text.strip() or not text.isprintable():
        raise ConfigError(f"expected a path, got {str(text)[:60]!r}", where=where)
    candidates = [Path(os.path.normpath(root / Path(text).expanduser())) for root in roots]
    for candidate in candidates:
        if candidate.exists():
            return candidate
    raise DataError("there is no such file or folder", where=candidates[0], fix=f"correct {where}")


def _known_names(value: object, class_names: Sequence[str], where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ConfigError("expected a list of class names", where=where)
    for position, name in enumerate(value):
        if str(name).strip() not in class_names:
            what = f"the data set has no class {quoted(name)}"
            raise ConfigError(what, where=f"{where}[{position}]", fix=nearest(str(name), class_names))
    return tuple(str(name).strip() for name in value)


@dataclass(frozen=True, slots=True)
class LabelledClasses:
    """Which classes are labelled in n pictures; pictures share the few sets that occur.

    Attributes:
        sets: bool [K, C]; the first is that of all classes.
        set_ids: int64 [n], the set of each picture.
        defects: faults of the file; with any of them, the split cannot be used.
    """

    sets: BoolArray
    set_ids: IntArray
    defects: tuple[Defect, ...] = ()

    @property
    def partial(self) -> BoolArray:
        """Pictures in which not all classes are labelled, bool [n]."""
        return np.asarray(self.set_ids != _ALL_CLASSES, np.bool_)


def labelled_classes(
    rules: LabelledRules, image_paths: Sequence[str], class_names: Sequence[str], roots: Iterable[Path]
) -> LabelledClasses:
    """Apply the rules to pictures.

    Args:
        rules: with the lines of their file read.
        image_paths: absolute paths of the n pictures.
        class_names: of the data set.
        roots: folders against which relative paths of the file are tried, in order.
    """
    sets = _ClassSets(class_names)
    if not rules.places and rules.file is None:
        return LabelledClasses(sets.table(), np.zeros(len(image_paths), np.int64))
    pictures = [_comparable(path) for path in image_paths]
    held = {_comparable(place) if place else _EVERYWHERE: sets.id_of(names) for place, names in rules.places}
    defects: list[Defect] = []
    if rules.file is not None:
        entries = _FileEntries(str(rules.file), sets, _with_folders(pictures), [str(root) for root in roots])
        for number, text in rules.lines:
            entries.add(number, text)
        held.update(entries.held)
        defects = entries.defects
    set_ids = _nearest_entries(pictures, held)
    occurring = np.unique(np.append(set_ids, _ALL_CLASSES))
    return LabelledClasses(sets.table()[occurring], np.searchsorted(occurring, set_ids), tuple(defects))


def _comparable(path: str) -> str:
    return os.path.normcase(os.path.normpath(path))


class _ClassSets:
    """Numbers the sets of classes as they occur."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._ids_of_name: dict[str, list[int]] = {}
        for class_id, name in enumerate(class_names):
            self._ids_of_name.setdefault(name, []).append(class_id)
        self._classes = len(class_names)
        self._numbers: dict[frozenset[int], int] = {frozenset(range(self._classes)): _ALL_CLASSES}

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Names that are none of the data set's classes."""
        return [name for name in names if name not in self._ids_of_name]

    def id_of(self, names: Iterable[str]) -> int:
        """The number of the set of all classes with these names."""
        ids = frozenset(class_id for name in names for class_id in self._ids_of_name[name])
        return self._numbers.setdefault(ids, len(self._numbers))

    def hint(self, name: str) -> str:
        """The known name nearest to ``name``."""
        return nearest(name, self._ids_of_name)

    def table(self) -> BoolArray:
        """The sets found so far, bool [K, C]."""
        table = np.zeros((len(self._numbers), self._classes), np.bool_)
        for ids, number in self._numbers.items():
            table[number, list(ids)] = True
        return table


@dataclass(slots=True)
class _FileEntries:
    """The lines of a file, one after the other: what each place holds, and what is wrong."""

    file: str
    sets: _ClassSets
    places: set[str]
    roots: Sequence[str]
    held: dict[str, int] = field(default_factory=dict)
    defects: list[Defect] = field(default_factory=list)
    _lines: dict[str, int] = field(default_factory=dict)

    def add(self, line: int, text: str) -> None:
        """Take one line that is not blank."""
        try:
            place, *names = (cell.strip() for cell in next(csv.reader([text], strict=True)))
        except csv.Error as error:
            self._refuse(line, "labelled-malformed", f"is no line of CSV ({error})")
            return
        if not place or "\0" in place:
            self._refuse(line, "labelled-malformed", "does not begin with the path of a picture or folder")
            return
        for name in self.sets.unknown(names):
            self._refuse(line, "labelled-class-unknown", f"class {quoted(name)}; {self.sets.hint(name)}")
            return
        self._hold(line, place, self.sets.id_of(names))

    def _hold(self, line: int, place: str, set_id: int) -> None:
        candidates = [_comparable(os.path.join(root, place)) for root in self.roots]
        found = next((path for path in candidates if path in self.places), None)
        if found is None:
            # A file may serve several splits: only what is nowhere is a mistake.
            if not any(os.path.exists(path) for path in candidates):
                self._refuse(line, "labelled-place-unknown", f"there is no {quoted(place, 200)}")
        elif found in self._lines:
            text = f"{quoted(place, 200)} again, as in line {self._lines[found]}"
            self._refuse(line, "labelled-twice", text)
        else:
            self._lines[found] = line
            self.held[found] = set_id

    def _refuse(self, line: int, kind: str, text: str) -> None:
        self.defects.append(Defect(self.file, line, kind, text))


def _with_folders(pictures: Iterable[str]) -> set[str]:
    """The pictures, and all folders above them."""
    places: set[str] = set()
    for path in pictures:
        while path not in places:
            places.add(path)
            path = os.path.dirname(path)  # noqa: PLW2901  # upwards, to the top, which is its own parent
    return places


def _nearest_entries(pictures: Sequence[str], held: Mapping[str, int]) -> IntArray:
    """The set of each picture: its own, else that of the nearest folder above it."""
    of_folder: dict[str, int] = {}

    def inherited(folder: str) -> int:
        if folder not in of_folder:
            above = os.path.dirname(folder)
            if folder in held:
                of_folder[folder] = held[folder]
            elif above == folder:
                of_folder[folder] = held.get(_EVERYWHERE, _ALL_CLASSES)
            else:
                of_folder[folder] = inherited(above)
        return of_folder[folder]

    return np.array(
        [held[path] if path in held else inherited(os.path.dirname(path)) for path in pictures], np.int64
    )
