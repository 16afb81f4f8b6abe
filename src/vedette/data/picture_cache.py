"""Where decoded pictures stay between epochs: shared memory, or a file in the cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from vedette.core.picture_format import PictureFormat
from vedette.data.memory import available_memory, available_shared_memory
from vedette.data.worker_marks import shared_tensor
from vedette.errors import DataError, WriteError

if TYPE_CHECKING:
    from vedette.core.types import Image, IntArray

_RECORD = np.dtype([("modified_ns", "<i8"), ("bytes", "<i8"), ("checksum", "<u4"), ("ready", "<u4")])
_LAYOUT_VERSION = 1
_SPARE_BYTES = 256 * 2**20


class PictureCache(Protocol):
    """Pictures by number."""

    def get(self, number: int) -> Image | None:
        """The picture, or None if it has to be decoded."""

    def put(self, number: int, image: Image) -> None:
        """Keep a decoded picture."""


@dataclass(frozen=True, slots=True)
class PictureShapes:
    """Sizes of n pictures, int64 [n, 2], and what they are made of."""

    sizes_hw: IntArray
    picture_format: PictureFormat

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def offsets(self) -> IntArray:
        """Start of every picture in a block of bytes, and the end of the last: int64 [n + 1]."""
        sizes = self.sizes_hw[:, 0] * self.sizes_hw[:, 1] * self.picture_format.bytes_per_pixel
        return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)

    def view(self, content: NDArray[np.uint8], number: int) -> Image:
        """The bytes of a picture as that picture."""
        pictures = self.picture_format
        height, width = self.sizes_hw[number].tolist()
        return content.view(pictures.dtype).reshape(height, width, pictures.channels)


def fits_easily(shapes: PictureShapes) -> bool:
    """Whether such pictures take at most a quarter of the memory, and shared memory, that is free."""
    needed = int(shapes.offsets()[-1])
    known = [free for free in (available_memory(), available_shared_memory()) if free is not None]
    return bool(known) and needed <= min(known) // 4


class RamCache:
    """One block of shared memory for all pictures, filled by whichever process decodes one first.

    Two processes may decode the same picture at once; they write the same bytes.

    Raises:
        DataError: there is not enough memory.
    """

    def __init__(self, shapes: PictureShapes) -> None:
        self._shapes = shapes
        self._offsets = shapes.offsets()
        needed = int(self._offsets[-1])
        _check_memory(needed)
        self._block = shared_tensor((needed,), torch.uint8)
        self._ready = shared_tensor((len(shapes),), torch.uint8)

    def get(self, number: int) -> Image | None:
        """See :class:`PictureCache`."""
        return self._view(number) if self._ready[number] else None

    def put(self, number: int, image: Image) -> None:
        """See :class:`PictureCache`."""
        self._view(number)[...] = image
        self._ready[number] = 1

    def _view(self, number: int) -> Image:
        start, end = self._offsets[number : number + 2].tolist()
        return self._shapes.view(self._block[start:end].numpy(), number)


class DiskCache:
    """One file for all pictures of a split at one size, mapped into memory; later runs find it again.

    A picture counts as present if its source file has the time and size noted with it and, on first use in a
    process, if the check sum of its pixels is right. So a run that was killed, a full disk or a changed picture
    cost decoding again, never a wrong picture.

    Args:
        shapes: of the pictures as kept.
        path_of: gives the source file of a picture.
        folder: the cache folder.
        place: which data set and size this is; a file for the same place and other content is replaced.
        content: hash of the split.

    Raises:
        DataError: no folder is given.
        WriteError: the folder cannot be written, or has too little space.
    """

    def __init__(
        self,
        shapes: PictureShapes,
        path_of: Callable[[int], Path],
        folder: Path | None,
        *,
        place: str,
        content: str,
    ) -> None:
        if folder is None:
            raise DataError(
                "there is no cache folder to keep pictures in",
                where="cache on disk",
                fix="set VEDETTE_CACHE_DIR, or use --cache ram",
            )
        self._path_of = path_of
        self._shapes = shapes
        self._offsets = shapes.offsets()
        key = hashlib.sha256(f"{_LAYOUT_VERSION}|{place}".encode()).hexdigest()[:16]
        name = f"{key}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        self._pixels_path = folder / "pictures" / f"{name}.pixels"
        self._records_path = folder / "pictures" / f"{name}.records"
        self._prepare_files(key)
        self._open()

    def __getstate__(self) -> dict[str, Any]:
        # A mapped array would be copied into the message; the other process maps the file itself.
        return {key: value for key, value in self.__dict__.items() if key not in _MAPPED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def get(self, number: int) -> Image | None:
        """See :class:`PictureCache`."""
        if not self._records["ready"][number]:
            return None
        image = self._view(number)
        if number not in self._verified:
            record = self._records[number]
            modified_ns, size = _file_state(self._path_of(number))
            if (record["modified_ns"], record["bytes"]) != (modified_ns, size):
                return None
            if record["checksum"] != _checksum(image):
                return None
            self._verified.add(number)
        return image

    def put(self, number: int, image: Image) -> None:
        """See :class:`PictureCache`."""
        self._records["ready"][number] = 0
        self._view(number)[...] = image
        modified_ns, size = _file_state(self._path_of(number))
        self._records[number] = (modified_ns, size, _checksum(image), 1)
        self._verified.add(number)

    def _view(self, number: int) -> Image:
        start, end = self._offsets[number : number + 2].tolist()
        return self._shapes.view(self._pixels[start:end], number)

    def _prepare_files(self, key: str) -> None:
        folder = self._pixels_path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"{key}-*"):
                if old not in (self._pixels_path, self._records_path):
                    old.unlink(missing_ok=True)
            _reserve(self._records_path, len(self._shapes) * _RECORD.itemsize)
            _reserve(self._pixels_path, int(self._offsets[-1]))
        except OSError as error:
            raise WriteError(
                f"the picture cache cannot be made ({error.strerror or error})",
                where=folder,
                fix="free some space, set VEDETTE_CACHE_DIR to another folder, or use --cache none",
            ) from None

    def _open(self) -> None:
        self._verified: set[int] = set()
        shape = (int(self._offsets[-1]),)
        pixels = np.memmap(self._pixels_path, dtype=np.uint8, mode="r+", shape=shape)
        # Plain arrays over the mapping: slicing a memmap object costs several times as much.
        self._pixels: NDArray[np.uint8] = np.asarray(pixels)
        records = np.memmap(self._records_path, dtype=_RECORD, mode="r+", shape=(len(self._shapes),))
        self._records: NDArray[Any] = np.asarray(records)


_MAPPED = ("_pixels", "_records", "_verified")


def _check_memory(needed: int) -> None:
    for free, what in ((available_memory(), "memory"), (available_shared_memory(), "shared memory")):
        if free is not None and needed + _SPARE_BYTES > free:
            raise DataError(
                f"the pictures take {needed / 2**30:.1f} GiB of {what}, {free / 2**30:.1f} GiB are free",
                where="cache in memory",
                fix="use --cache disk, --cache none, or a smaller --img-size",
            )


def _checksum(image: Image) -> int:
    return zlib.adler32(image.data)


def _file_state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_mtime_ns, status.st_size


def _reserve(path: Path, size: int) -> None:
    """Make a file of ``size`` zero bytes, or keep the one that is there; its space is really taken.

    Writing to a mapped file that has no space left kills the process, so the space is claimed beforehand.
    """
    if path.exists() and path.stat().st_size == size:
        return
    free = shutil.disk_usage(path.parent).free
    if size + _SPARE_BYTES > free:
        raise OSError(0, f"{size / 2**30:.1f} GiB are needed, {free / 2**30:.1f} GiB are free")
    with path.open("ab") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)
