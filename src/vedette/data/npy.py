"""Pictures as NumPy arrays in files: ``.npy``, uint8 or uint16, [H, W] or [H, W, channels].

The header is checked before anything is made of it, and nothing in it is executed: it is a Python literal of three
known keys. Arrays of objects, structures, other numbers and other shapes are refused. Layout: NumPy's documentation of
its format, versions 1.0 and 2.0.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from vedette.core.picture_format import MAX_PICTURE_CHANNELS
from vedette.errors import ImageError

if TYPE_CHECKING:
    from vedette.core.types import Image

NPY_MAGIC: Final = b"\x93NUMPY"

_MAX_HEADER = 4096
_TYPES: Final = {"|u1": "u1", "<u1": "u1", ">u1": "u1", "<u2": "<u2", ">u2": ">u2"}
_KEYS = {"descr", "fortran_order", "shape"}


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """What a file says of its array.

    Attributes:
        shape: (H, W, channels).
        dtype: NumPy's name of the type, byte order included.
        columns_first: the first axis runs fastest (Fortran order).
        start: of the samples, in bytes.
    """

    shape: tuple[int, int, int]
    dtype: str
    columns_first: bool
    start: int

    @property
    def bits(self) -> int:
        """Of a sample."""
        return 8 * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes of all samples."""
        height, width, channels = self.shape
        return height * width * channels * self.bits // 8


def read_npy_header(stream: BinaryIO, where: object) -> NpyHeader:
    """Read and check the header at the start of a stream.

    Raises:
        ImageError: ``not-an-image`` for a damaged header, ``unsupported-format`` for another type or shape.
    """
    start = stream.read(12)
    if len(start) < 12 or not start.startswith(NPY_MAGIC) or start[6:8] not in (b"\x01\x00", b"\x02\x00"):
        raise ImageError("damaged NPY header", where=where, kind="not-an-image")
    wide = start[6] == 2
    length = int.from_bytes(start[8:12] if wide else start[8:10], "little")
    begun = b"" if wide else start[10:]
    text = begun + stream.read(max(min(length, _MAX_HEADER) - len(begun), 0))
    if not 2 <= length <= _MAX_HEADER or len(text) < length:
        raise ImageError("damaged NPY header", where=where, kind="not-an-image")
    try:
        values = ast.literal_eval(text[:length].decode("ascii").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        values = None
    if not isinstance(values, dict) or set(values) != _KEYS or not isinstance(values["fortran_order"], bool):
        raise ImageError("damaged NPY header", where=where, kind="not-an-image")
    dtype = _TYPES.get(values["descr"]) if isinstance(values["descr"], str) else None
    if dtype is None:
        raise ImageError(
            f"an array of type {str(values['descr'])[:40]!r} is no picture",
            where=where,
            kind="unsupported-format",
            fix="save it as uint8 or uint16",
        )
    shape = _picture_shape(values["shape"], where)
    return NpyHeader(shape, dtype, values["fortran_order"], (12 if wide else 10) + length)


def npy_samples(raw: bytes, header: NpyHeader, where: object) -> Image:
    """The array of a file whose header was read: uint8 or uint16 [H, W, channels].

    Raises:
        ImageError: ``truncated``, or ``unreadable`` if more than the array follows the header.
    """
    there = len(raw) - header.start
    if there != header.size:
        kind = "truncated" if there < header.size else "unreadable"
        what = f"holds {there} bytes of samples, its header says {header.size}"
        raise ImageError(what, where=where, kind=kind)
    array = np.frombuffer(raw, header.dtype, offset=header.start)
    array = array.reshape(header.shape, order="F" if header.columns_first else "C")
    samples: Image = array.astype(np.uint8 if header.bits == 8 else np.uint16, order="C")
    return samples


def _picture_shape(shape: object, where: object) -> tuple[int, int, int]:
    sides = shape if isinstance(shape, tuple) and all(type(side) is int for side in shape) else ()
    if len(sides) == 2:
        sides = (*sides, 1)
    if len(sides) != 3 or not 1 <= sides[2] <= MAX_PICTURE_CHANNELS:
        raise ImageError(
            f"an array of shape {str(shape)[:60]} is no picture",
            where=where,
            kind="unsupported-format",
            fix=f"save it as [H, W] or [H, W, channels] with at most {MAX_PICTURE_CHANNELS} channels",
        )
    height, width, channels = sides
    return height, width, channels
