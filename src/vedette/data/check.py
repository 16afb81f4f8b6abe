"""Examine a whole data set: every defect of every split, and a balance in which nothing is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from vedette.core.picture_format import RGB8
from vedette.core.types import IntArray
from vedette.data.defects import KINDS, Defect
from vedette.data.description import DatasetDescription
from vedette.data.images import read_image
from vedette.data.index import SplitIndex, read_index
from vedette.data.index_build import SplitCounts
from vedette.errors import ImageError

_DECODE_THREADS = 4


@dataclass(frozen=True, slots=True)
class SplitReport:
    """One split.

    Attributes:
        counts: what went in and what became of it; damaged pictures are among those left out.
        class_counts: int64 [C], boxes of each class, ignored ones left out.
        ignored_count: ignored boxes.
        background_count: pictures without boxes.
        partly_labelled_count: used pictures in which not all classes are labelled.
        labelled_counts: int64 [C], used pictures in which each class is labelled.
    """

    counts: SplitCounts
    class_counts: IntArray
    ignored_count: int
    background_count: int
    partly_labelled_count: int
    labelled_counts: IntArray


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found.

    Attributes:
        defects: of all splits, by path and line, each once.
        splits: split name to its balance.
        class_names: by class id.
        decoded: whether every picture was decoded.
        notes: what the reader should know, one sentence each.
    """

    defects: tuple[Defect, ...]
    splits: Mapping[str, SplitReport]
    class_names: tuple[str, ...]
    decoded: bool
    notes: tuple[str, ...] = ()

    @property
    def bad(self) -> int:
        """How many rows, pictures and files cannot be used (repeated ones do not count)."""
        return sum(defect.bad for defect in self.defects)

    def kind_counts(self) -> dict[str, int]:
        """How many defects there are of each kind, most frequent first."""
        return dict(Counter(defect.kind for defect in self.defects).most_common())

    def summary_lines(self) -> list[str]:
        """The balance in words: a few lines a split, then a line a kind of defect."""
        lines = [line for name, report in self.splits.items() for line in self._split_lines(name, report)]
        for kind, count in self.kind_counts().items():
            lines.append(f"{count} x {kind} ({KINDS[kind].effect}): {KINDS[kind].meaning}")
        lines += self.notes
        if not self.decoded:
            lines.append("pictures were not decoded: damage behind their headers is not seen")
        lines.append(
            f"{self.bad} rows, pictures or files cannot be used" if self.bad else "everything can be used"
        )
        return lines

    def _split_lines(self, name: str, report: SplitReport) -> Iterator[str]:
        counts = report.counts
        yield (
            f"{name}: {counts.pictures_read} pictures = {counts.pictures_used} used "
            f"({report.background_count} of them backgrounds) + {counts.pictures_left_out} left out "
            f"+ {counts.pictures_repeated} repeated"
        )
        yield (
            f"{name}: {counts.rows_read} rows = {counts.rows_used} used ({report.ignored_count} of them ignored) "
            f"+ {counts.rows_bad} bad + {counts.rows_repeated} repeated "
            f"+ {counts.rows_of_pictures_left_out} of pictures left out"
        )
        by_class = zip(self.class_names, report.class_counts.tolist(), strict=True)
        yield f"{name}: " + ", ".join(f"{class_name} {count}" for class_name, count in by_class)
        if report.partly_labelled_count:
            labelled = zip(self.class_names, report.labelled_counts.tolist(), strict=True)
            yield (
                f"{name}: {report.partly_labelled_count} pictures have only some classes labelled; pictures with "
                "each class labelled: " + ", ".join(f"{class_name} {count}" for class_name, count in labelled)
            )


def check_dataset(
    description: DatasetDescription, splits: Sequence[str] | None = None, *, decode: bool = True
) -> CheckReport:
    """Examine a data set without changing it or using the cache.

    Args:
        description: the data set.
        splits: which splits; all that it has if None or empty.
        decode: decode every picture, which finds truncated and damaged ones.

    Raises:
        DataError: there is no such split, or a folder or file that the description names is not there.
    """
    names = tuple(splits or description.splits)
    indexes = {name: read_index(description, name) for name in names}
    defects = {defect for index in indexes.values() for defect in index.defects}
    damaged = {name: _damaged(index) if decode else {} for name, index in indexes.items()}
    defects.update(defect for found in damaged.values() for defect in found.values())
    defects.update(_in_two_splits(indexes))
    return CheckReport(
        defects=tuple(sorted(defects)),
        splits=MappingProxyType({name: _report(index, damaged[name]) for name, index in indexes.items()}),
        class_names=description.class_names,
        decoded=decode,
        notes=(*description.notes, *_format_notes(description)),
    )


def _format_notes(description: DatasetDescription) -> list[str]:
    """What pictures are taken for, where that is not the usual."""
    pictures = description.picture_format
    return [] if pictures == RGB8 else [f"pictures are read as {pictures}"]


def _damaged(index: SplitIndex) -> dict[int, Defect]:
    """The pictures that cannot be decoded although their headers are sound."""

    def decode(number: int) -> Defect | None:
        path = index.image_path(number)
        try:
            read_image(path, picture_format=index.picture_format)
        except ImageError as error:
            boxes = len(index.labels(number).class_ids)
            return Defect(str(path), 0, "picture-damaged", f"{error.kind}: {error.what} ({boxes} boxes)")
        return None

    with ThreadPoolExecutor(_DECODE_THREADS) as threads:
        found = enumerate(threads.map(decode, range(len(index))))
        return {number: defect for number, defect in found if defect is not None}


def _in_two_splits(indexes: Mapping[str, SplitIndex]) -> Iterator[Defect]:
    first_split: dict[str, str] = {}
    for name, index in indexes.items():
        for number, path in enumerate(index.paths):
            other = first_split.setdefault(path, name)
            if other != name:
                text = f"belongs to '{other}' and to '{name}': results on one do not tell about new pictures"
                yield Defect(str(index.image_path(number)), 0, "picture-in-two-splits", text)


def _report(index: SplitIndex, damaged: Mapping[int, Defect]) -> SplitReport:
    lost = np.zeros(len(index), np.bool_)
    lost[list(damaged)] = True
    lost_rows = np.repeat(lost, np.diff(index.offsets))
    rows = int(lost_rows.sum())
    counts = index.counts
    used = ~lost_rows & ~index.ignored
    return SplitReport(
        counts=replace(
            counts,
            pictures_used=counts.pictures_used - len(damaged),
            pictures_left_out=counts.pictures_left_out + len(damaged),
            rows_used=counts.rows_used - rows,
            rows_of_pictures_left_out=counts.rows_of_pictures_left_out + rows,
        ),
        class_counts=np.bincount(index.class_ids[used], minlength=len(index.class_names)).astype(np.int64),
        ignored_count=int((index.ignored & ~lost_rows).sum()),
        background_count=int((~lost & (np.diff(index.offsets) == 0)).sum()),
        partly_labelled_count=int((index.labelled_set_ids[~lost] != 0).sum()),
        labelled_counts=index.labelled_sets[index.labelled_set_ids[~lost]].sum(axis=0, dtype=np.int64),
    )
