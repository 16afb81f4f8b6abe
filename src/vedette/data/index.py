"""The index of a split: pictures, sizes and boxes as packed arrays, which workers share without copying objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import BoolArray, IntArray
from vedette.data.cache_folder import cache_folder
from vedette.data.defects import Defect, pack_defects, unpack_defects
from vedette.data.description import DatasetDescription
from vedette.data.formats import gather_split
from vedette.data.index_build import BuiltSplit, SplitCounts, build_split
from vedette.data.index_cache import ForeignCacheError, cache_path, fingerprint, read_cache, write_cache
from vedette.errors import DataError, LabelError

OnBadLabel = Literal["skip", "error"]


class PackedStrings(Sequence[str]):
    """Many strings as one block of bytes; each is decoded when it is asked for."""

    __slots__ = ("_blob", "_offsets")

    def __init__(self, strings: Sequence[str]) -> None:
        parts = [string.encode("utf-8", "surrogateescape") for string in strings]
        self._blob = b"".join(parts)
        self._offsets = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int64)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[number] for number in range(*position.indices(len(self)))]
        number = range(len(self))[position]
        start, end = self._offsets[number : number + 2].tolist()
        return self._blob[start:end].decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return (self[number] for number in range(len(self)))


@dataclass(frozen=True, slots=True)
class PictureLabels:
    """The boxes of one picture; views into the index, not to be written to.

    Attributes:
        boxes_xyxy_px: float64 [M, 4], pixels of the oriented picture; may reach over its edges.
        class_ids: int64 [M].
        ignored: bool [M].
        areas: float64 [M].
        labelled: bool [C], which classes are labelled in the picture; None: all, in every picture of the split.
        background_unknown: what no box covers is not to be taken for background.
    """

    boxes_xyxy_px: NDArray[np.float64]
    class_ids: IntArray
    ignored: BoolArray
    areas: NDArray[np.float64]
    labelled: BoolArray | None = None
    background_unknown: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SplitIndex:
    """Everything about a split but its pixels; n pictures, M boxes. Cheap to hand to another process.

    Attributes:
        split: its name.
        root: the folder to which ``paths`` are relative.
        paths: n paths with forward slashes, in ascending order.
        sizes_hw: int32 [n, 2], after EXIF orientation.
        offsets: int64 [n + 1]; the boxes of picture i are ``offsets[i]:offsets[i + 1]``.
        boxes_xyxy_px: float64 [M, 4], pixels of the oriented picture, as labelled: may reach over its edges.
        class_ids: int64 [M].
        ignored: bool [M]; crowd and difficult boxes: neither target nor background.
        areas: float64 [M]; the area that a COCO file states, else width times height.
        image_ids: int64 [n]; COCO image ids, else position + 1.
        labelled_sets: bool [K, C]; the sets of classes that are labelled in some picture, that of all classes first.
            See :mod:`vedette.data.labelled`.
        labelled_set_ids: int64 [n], the set of each picture.
        background_unknown: bool [n]; see :class:`PictureLabels`.
        class_names: by class id.
        category_ids: category id of each class id in COCO results.
        counts: what went in and what became of it.
        content_hash: SHA-256 over class names, relative paths and byte sizes of the pictures, and all arrays; the
            same on every machine. Of pictures that are not 8-bit RGB also over their picture format.
        notes: what the reader of a log should know, one sentence each.
        packed_defects: see ``defects``.
        picture_format: what the pictures are made of.
    """

    split: str
    root: str
    paths: PackedStrings
    sizes_hw: NDArray[np.int32]
    offsets: IntArray
    boxes_xyxy_px: NDArray[np.float64]
    class_ids: IntArray
    ignored: BoolArray
    areas: NDArray[np.float64]
    image_ids: IntArray
    labelled_sets: BoolArray
    labelled_set_ids: IntArray
    background_unknown: BoolArray
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    counts: SplitCounts
    content_hash: str
    notes: tuple[str, ...]
    packed_defects: bytes
    picture_format: PictureFormat = RGB8

    def __len__(self) -> int:
        return len(self.sizes_hw)

    @property
    def defects(self) -> tuple[Defect, ...]:
        """Every defect of the split, by path and line; unpacked at each call."""
        return unpack_defects(self.packed_defects)

    @property
    def background_count(self) -> int:
        """Pictures without boxes (ignored ones count as boxes)."""
        return int((np.diff(self.offsets) == 0).sum())

    def image_path(self, number: int) -> Path:
        """Absolute path of a picture."""
        return Path(self.root) / self.paths[number]

    def labels(self, number: int) -> PictureLabels:
        """The boxes of a picture."""
        rows = slice(*self.offsets[number : number + 2].tolist())
        return PictureLabels(
            self.boxes_xyxy_px[rows],
            self.class_ids[rows],
            self.ignored[rows],
            self.areas[rows],
            self.labelled_sets[self.labelled_set_ids[number]] if self.partly_labelled else None,
            bool(self.background_unknown[number]),
        )

    @property
    def partly_labelled(self) -> bool:
        """Whether there is a picture in which not all classes are labelled."""
        return len(self.labelled_sets) > 1

    def as_single_class(self) -> SplitIndex:
        """The same split with all boxes in class 0 (data.md, section 13)."""
        return replace(
            self,
            class_ids=np.zeros_like(self.class_ids),
            labelled_sets=np.asarray(self.labelled_sets.all(axis=1, keepdims=True), np.bool_),
            class_names=single_class_names(self.class_names),
            category_ids=self.category_ids[:1],
        )

    def class_counts(self) -> IntArray:
        """Boxes of each class, ignored ones left out; int64 [C]."""
        return np.bincount(self.class_ids[~self.ignored], minlength=len(self.class_names)).astype(np.int64)


def single_class_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """The name of all classes taken as one: "item", unless there is but one name."""
    return tuple(class_names) if len(class_names) == 1 else ("item",)


def load_index(
    description: DatasetDescription,
    split: str,
    *,
    cache_dir: Path | None = None,
    on_bad_label: OnBadLabel = "skip",
    max_bad_fraction: float = 0.01,
) -> SplitIndex:
    """Read a split, from the cache if nothing has changed.

    Args:
        description: the data set.
        split: one of its splits.
        cache_dir: where indexes are cached; the cache folder of the user if None. A folder that cannot be written
            to costs time, not success: the index has a note then.
        on_bad_label: ``skip`` leaves bad rows and pictures out, each listed in ``defects``; ``error`` refuses any.
        max_bad_fraction: with ``skip``, the share of bad rows, or of pictures left out, above which the split is
            refused. Repeated rows do not count.

    Raises:
        DataError: the split cannot be used as a whole, holds no picture, or has too much that is bad.
        LabelError: ``on_bad_label`` is ``error`` and a row or picture is left out; ``where`` is its path and line.
    """
    folder = cache_folder() if cache_dir is None else cache_dir
    built, notes = _load_or_build(description, split, folder)
    index = _pack_index(description, split, built, (*description.notes, *notes))
    _refuse_unusable(index, built, description)
    if index.background_unknown.all():
        note = (
            f"no picture of '{split}' has all classes labelled, so with 'objectness: unknown' nothing teaches where "
            "there is no object"
        )
        index = replace(index, notes=(*index.notes, note))
    if on_bad_label == "error":
        _refuse_any(built)
    _refuse_too_many(built, description, max_bad_fraction)
    return index


def read_index(description: DatasetDescription, split: str) -> SplitIndex:
    """Read a split whatever is wrong with it, without the cache. For checking, not for training.

    Raises:
        DataError: there is no such split, or a folder or file that the description names is not there.
    """
    return _pack_index(
        description, split, build_split(description, gather_split(description, split)), description.notes
    )


def _load_or_build(
    description: DatasetDescription, split: str, folder: Path | None
) -> tuple[BuiltSplit, tuple[str, ...]]:
    files = gather_split(description, split)
    if folder is None:
        return build_split(description, files), (
            "there is no folder to cache the index in: it is built every time",
        )
    path = cache_path(folder, description, split)
    current = fingerprint(description, split, files.digest(str(description.root)))
    notes = []
    try:
        cached = read_cache(path, current)
    except ForeignCacheError as error:
        notes.append(f"the cached index {path} is rebuilt: {error}")
        cached = None
    if cached is not None:
        return cached, ()
    built = build_split(description, files)
    try:
        write_cache(path, built, current)
    except OSError as error:
        notes.append(
            f"the index of '{split}' is not cached: {path.parent} cannot be written ({error.strerror})"
        )
    return built, tuple(notes)


def _pack_index(
    description: DatasetDescription, split: str, built: BuiltSplit, notes: tuple[str, ...]
) -> SplitIndex:
    # Arrays are copied: those of a cached index are views of its file's bytes, which torch does not take.
    return SplitIndex(
        split=split,
        root=str(description.root),
        paths=PackedStrings(built.paths),
        sizes_hw=built.arrays["sizes_hw"].astype(np.int32),
        offsets=built.arrays["offsets"].astype(np.int64),
        boxes_xyxy_px=built.arrays["boxes_xyxy_px"].astype(np.float64),
        class_ids=built.arrays["class_ids"].astype(np.int64),
        ignored=built.arrays["ignored"].astype(np.bool_),
        areas=built.arrays["areas"].astype(np.float64),
        image_ids=built.arrays["image_ids"].astype(np.int64),
        labelled_sets=built.arrays["labelled_sets"].astype(np.bool_),
        labelled_set_ids=built.arrays["labelled_set_ids"].astype(np.int64),
        background_unknown=built.arrays["background_unknown"].astype(np.bool_),
        class_names=description.class_names,
        category_ids=description.category_ids,
        counts=built.counts,
        content_hash=built.content_hash,
        notes=notes,
        packed_defects=pack_defects(built.defects),
        picture_format=description.picture_format,
    )


def _refuse_unusable(index: SplitIndex, built: BuiltSplit, description: DatasetDescription) -> None:
    for defect in built.defects:
        if defect.effect == "file":
            raise DataError(f"{defect.kind}: {defect.text}", where=defect.place, fix="correct the file")
    if not len(index):
        first = f"; the first reason: {built.defects[0]}" if built.defects else ""
        raise DataError(
            f"split '{index.split}' has no usable picture{first}",
            where=description.file,
            fix="check the paths in the description",
        )


def _refuse_any(built: BuiltSplit) -> None:
    for defect in built.defects:
        if defect.effect in ("row", "duplicate", "picture"):
            raise LabelError(
                f"{defect.kind}: {defect.text}",
                where=defect.place,
                fix="correct it, or leave out what is bad with --on-bad-label skip",
            )


def _refuse_too_many(built: BuiltSplit, description: DatasetDescription, max_bad_fraction: float) -> None:
    counts = built.counts
    bad_rows = counts.rows_bad + counts.rows_of_pictures_left_out
    for bad, total, noun in (
        (bad_rows, counts.rows_read, "label rows"),
        (counts.pictures_left_out, counts.pictures_read, "pictures"),
    ):
        if bad > max_bad_fraction * total:
            named = [str(defect) for defect in built.defects if defect.effect in ("row", "picture")]
            raise DataError(
                f"{bad} of {total} {noun} cannot be used, more than {max_bad_fraction:.2%}; "
                + "the first: "
                + " | ".join(named[:3]),
                where=description.file,
                fix=f"list all with: vedette data check {description.argument}",
            )
