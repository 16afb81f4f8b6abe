"""Rows of a split and headers of its pictures -> the arrays of an index."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import BoolArray, IntArray
from vedette.data.box_checks import RowCheck, check_rows, ignore_unlabelled
from vedette.data.defects import Defect
from vedette.data.description import DatasetDescription
from vedette.data.formats import parse_split
from vedette.data.formats.records import RawSplit, SplitFiles
from vedette.data.images import ImageHeader, probe_image, read_image
from vedette.data.labelled import labelled_classes
from vedette.data.sources import relative_path
from vedette.errors import ImageError

MINIMUM_SIDE = 10
"""Pictures with a shorter side are left out, as the reference does."""

MISSING = -1

_PROBE_THREADS = 8


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """What went in and what became of it. Both sums hold exactly.

    pictures_read = pictures_used + pictures_left_out + pictures_repeated;
    rows_read = rows_used + rows_bad + rows_repeated + rows_of_pictures_left_out.

    Attributes:
        pictures_read: pictures that the split names.
        pictures_used: pictures in the index.
        pictures_left_out: named by a defect each.
        pictures_repeated: named a second time; a defect each.
        rows_read: rows in the label files.
        rows_used: boxes in the index, ignored ones included.
        rows_bad: left out, a defect each.
        rows_repeated: repeat an earlier row; left out, a defect each.
        rows_of_pictures_left_out: sound as far as can be told, but their picture is left out.
    """

    pictures_read: int
    pictures_used: int
    pictures_left_out: int
    pictures_repeated: int
    rows_read: int
    rows_used: int
    rows_bad: int
    rows_repeated: int
    rows_of_pictures_left_out: int


@dataclass(frozen=True, slots=True, eq=False)
class BuiltSplit:
    """A split after all checks, with the pictures in the order of their paths.

    Attributes:
        paths: of the used pictures, relative to the root, with forward slashes.
        arrays: the arrays of ``SplitIndex`` by name.
        defects: all of them, by path and line.
        counts: the balance.
        checked_paths: all pictures that were looked at, absolute.
        stamps: int64 [k, 2], size and modification time (ns) of these; -1 if missing.
        content_hash: see ``SplitIndex``.
    """

    paths: Sequence[str]
    arrays: dict[str, NDArray[np.generic]]
    defects: tuple[Defect, ...]
    counts: SplitCounts
    checked_paths: Sequence[str]
    stamps: IntArray
    content_hash: str


def build_split(description: DatasetDescription, files: SplitFiles) -> BuiltSplit:
    """Parse the labels, read the header of every picture, check every row, find what is labelled where."""
    raw = parse_split(description, files)
    stamps = stamp_files(raw.image_paths)
    pictures = description.picture_format
    headers = probe_pictures(raw.image_paths, stamps[:, 0] != MISSING, pictures)
    sizes = np.array(
        [header.size_hw if isinstance(header, ImageHeader) else (0, 0) for header in headers], np.int32
    )
    sizes = sizes.reshape(-1, 2)
    usable, picture_defects = _check_pictures(raw, headers, sizes)
    picture_defects += _converted(raw, headers, pictures)
    check = check_rows(raw, sizes.astype(np.int64), usable, len(description.class_names))
    labelled = labelled_classes(
        files.labelled, raw.image_paths, description.class_names, description.search_roots
    )
    ignore_unlabelled(check, labelled, description.class_names)
    defects = tuple(sorted([*raw.defects, *picture_defects, *check.defects, *labelled.defects]))
    relative = [relative_path(path, str(description.root)) for path in raw.image_paths]
    order = np.array(sorted(np.flatnonzero(usable).tolist(), key=relative.__getitem__), np.int64)
    arrays = _arrays(raw, check, sizes, order)
    hashed = dict(arrays)
    partial = labelled.partial[order]
    arrays["labelled_sets"], arrays["labelled_set_ids"] = labelled.sets, labelled.set_ids[order]
    arrays["background_unknown"] = partial & files.labelled.background_unknown
    # Data sets without partial labels keep the hash that they had before there were any.
    hashed = arrays if partial.any() else hashed
    paths = [relative[number] for number in order.tolist()]
    return BuiltSplit(
        paths=paths,
        arrays=arrays,
        defects=defects,
        counts=_count(raw, check, usable, defects),
        checked_paths=raw.image_paths,
        stamps=stamps,
        content_hash=_content_hash(description.class_names, paths, stamps[order, 0], hashed, pictures),
    )


def stamp_files(paths: Sequence[str]) -> IntArray:
    """Size and modification time (ns) of files, int64 [n, 2]; (-1, -1) for those that are not there."""
    stamps = np.full((len(paths), 2), MISSING, np.int64)
    for number, path in enumerate(paths):
        try:
            state = os.stat(path)  # noqa: PTH116 - 100,000 paths
        except (OSError, ValueError):
            continue
        stamps[number] = state.st_size, state.st_mtime_ns
    return stamps


def probe_pictures(
    paths: Sequence[str], present: BoolArray, picture_format: PictureFormat = RGB8
) -> list[ImageHeader | ImageError | None]:
    """Header of each picture, or why it cannot be used; None for those that are not present."""

    def probe(number: int) -> ImageHeader | ImageError | None:
        if not present[number]:
            return None
        try:
            header = probe_image(paths[number], picture_format=picture_format)
            if _may_end_early(paths[number], header.format):
                read_image(paths[number], picture_format=picture_format)
        except ImageError as error:
            return error
        return header

    with ThreadPoolExecutor(_PROBE_THREADS) as threads:
        return list(threads.map(probe, range(len(paths)), chunksize=64))


def _may_end_early(path: str, picture_format: str) -> bool:
    """Whether a file lacks the mark that nearly every sound file of its format ends with; cheap to ask.

    An interrupted copy is the most frequent damage by far. Sound files without the mark exist (some cameras add
    data behind the picture), so the answer "yes" calls for decoding.
    """
    mark = {"jpeg": b"\xff\xd9", "png": b"IEND\xaeB`\x82"}.get(picture_format, b"")
    try:
        with open(path, "rb") as stream:  # noqa: PTH123 - 100,000 paths
            stream.seek(-len(mark), os.SEEK_END)
            return stream.read() != mark if mark else False
    except OSError:
        return True


def _check_pictures(
    raw: RawSplit, headers: Sequence[ImageHeader | ImageError | None], sizes: NDArray[np.int32]
) -> tuple[BoolArray, list[Defect]]:
    """Which pictures can be used, and what is wrong with the others (or doubtful)."""
    usable = np.ones(len(headers), np.bool_)
    usable[list(raw.unusable)] = False
    rows_of = np.bincount(raw.rows.image_numbers, minlength=len(headers))
    defects = []
    for number, header in enumerate(headers):
        if not usable[number]:
            continue
        path = raw.image_paths[number]
        loss = f"; left out with {rows_of[number]} boxes" if rows_of[number] else "; left out"
        if header is None:
            place = raw.mention(number)
            defects.append(Defect(*place, "picture-missing", f"there is no {path}{loss}"))
        elif isinstance(header, ImageError):
            defects.append(Defect(path, 0, "picture-unreadable", f"{header.kind}: {header.what}{loss}"))
        elif min(header.size_hw) < MINIMUM_SIDE:
            text = f"{header.size_hw[1]}x{header.size_hw[0]} pixels (width x height)"
            defects.append(Defect(path, 0, "picture-too-small", text + loss))
        else:
            continue
        usable[number] = False
    stated = raw.declared_sizes_hw
    for number in np.flatnonzero(usable & (stated > 0).all(axis=1) & (stated != sizes).any(axis=1)).tolist():
        defects.append(_size_mismatch(raw, number, headers[number], sizes[number]))
    return usable, defects


def _converted(
    raw: RawSplit, headers: Sequence[ImageHeader | ImageError | None], picture_format: PictureFormat
) -> list[Defect]:
    """Pictures that are not of the picture format that the description asks for; nobody asks for 8-bit RGB."""
    if picture_format == RGB8:
        return []
    wanted = picture_format.channels, picture_format.bits
    return [
        Defect(path, 0, "picture-converted", f"{header.channels} channels of {header.bit_depth} bits")
        for path, header in zip(raw.image_paths, headers, strict=True)
        if isinstance(header, ImageHeader) and (header.channels, header.bit_depth) != wanted
    ]


def _size_mismatch(raw: RawSplit, number: int, header: object, size_hw: NDArray[np.int32]) -> Defect:
    height, width = raw.declared_sizes_hw[number]
    picture = raw.image_paths[number]
    text = f"the annotation says {width}x{height} (width x height), {picture} has {size_hw[1]}x{size_hw[0]}"
    if isinstance(header, ImageHeader) and header.orientation > 4 and (width, height) == tuple(size_hw):
        text += f" once its EXIF orientation {header.orientation} is applied"
    line = raw.size_lines.get(number)
    place = raw.mention(number) if line is None else (raw.label_path(number), line)
    return Defect(*place, "size-mismatch", text)


def _arrays(
    raw: RawSplit, check: RowCheck, sizes: NDArray[np.int32], order: IntArray
) -> dict[str, NDArray[np.generic]]:
    """Arrays of the index: pictures in ``order``, rows by picture and then as in the file."""
    position = np.full(len(raw.image_paths), len(order), np.int64)
    position[order] = np.arange(len(order))
    kept = np.flatnonzero(check.keep)
    kept = kept[np.argsort(position[raw.rows.image_numbers[kept]], kind="stable")]
    counts = np.bincount(position[raw.rows.image_numbers[kept]], minlength=len(order))
    boxes = np.ascontiguousarray(check.boxes[kept])
    areas = raw.rows.areas[kept]
    computed = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    image_ids = np.arange(1, len(order) + 1) if raw.image_ids is None else raw.image_ids[order]
    return {
        "sizes_hw": np.ascontiguousarray(sizes[order]),
        "offsets": np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        "boxes_xyxy_px": boxes,
        "class_ids": raw.rows.class_values[kept].astype(np.int64),
        "ignored": check.ignored[kept],
        "areas": np.where(np.isnan(areas), computed, areas),
        "image_ids": image_ids.astype(np.int64),
    }


def _count(raw: RawSplit, check: RowCheck, usable: BoolArray, defects: Sequence[Defect]) -> SplitCounts:
    effects = [defect.effect for defect in defects]
    repeated_pictures = sum(defect.kind == "picture-listed-twice" for defect in defects)
    repeated_rows = effects.count("duplicate") - repeated_pictures
    used = int(check.keep.sum())
    in_usable = int(usable[raw.rows.image_numbers].sum())
    return SplitCounts(
        pictures_read=raw.pictures_read,
        pictures_used=int(usable.sum()),
        pictures_left_out=effects.count("picture"),
        pictures_repeated=repeated_pictures,
        rows_read=raw.rows_read,
        rows_used=used,
        rows_bad=effects.count("row"),
        rows_repeated=repeated_rows,
        rows_of_pictures_left_out=len(raw.rows) - in_usable,
    )


def _content_hash(
    class_names: Sequence[str],
    paths: Sequence[str],
    file_sizes: IntArray,
    arrays: dict[str, NDArray[np.generic]],
    picture_format: PictureFormat,
) -> str:
    result = hashlib.sha256()
    if picture_format != RGB8:  # all others keep the hash that they had before there were other formats
        result.update(f"{picture_format.to_dict()}\n".encode())
    for name in class_names:
        result.update(f"{name}\0".encode())
    for path, size in zip(paths, file_sizes.tolist(), strict=True):
        result.update(f"{path}\0{size}\n".encode(errors="surrogateescape"))
    for name in sorted(arrays):
        array = arrays[name]
        result.update(f"{name}\0{array.shape}\n".encode())
        result.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return result.hexdigest()
