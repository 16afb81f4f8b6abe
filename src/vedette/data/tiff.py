"""TIFF files of any number of 8- or 16-bit channels, in one page or one page a channel.

OpenCV reads pages of 1, 3 or 4 channels whose samples lie side by side; of others it refuses some and misreads some
(two channels; 16-bit channels in planes). So the directory is read here, and what is decoded is handed to OpenCV as a
page of one channel with the same content: samples side by side are a wider picture, planes are pictures of their own.
Decompression stays with libtiff. Written from the TIFF 6.0 specification (Adobe, 1992) and its supplement 1 (Deflate).
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

import cv2
import numpy as np

from vedette.core.picture_format import MAX_PICTURE_CHANNELS
from vedette.errors import ImageError

if TYPE_CHECKING:
    from vedette.core.types import Image, SizeHW

MAX_PAGES: Final = MAX_PICTURE_CHANNELS + 1
_MAX_ENTRIES = 4096
_MAX_VALUES = 4_000_000  # of all tags of a file
_MAX_WIDTH = 2**20 - 1  # of OpenCV
_MAX_TILE = 2**22


class _Tag(enum.IntEnum):
    """The tags that matter here, under the names of the specification where these are plain."""

    SUBFILE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    MEANING = 262
    FILL_ORDER = 266
    STRIP_OFFSETS = 273
    ORIENTATION = 274
    CHANNELS = 277
    STRIP_ROWS = 278
    STRIP_SIZES = 279
    PLANES = 284
    PREDICTOR = 317
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILE_OFFSETS = 324
    TILE_SIZES = 325
    EXTRA = 338
    SAMPLE_FORMAT = 339


_NOT_COMPRESSED, _LZW, _DEFLATE, _OLD_DEFLATE, _PACK_BITS = 1, 5, 8, 32946, 32773
_DECODABLE = (_NOT_COMPRESSED, _LZW, _DEFLATE, _OLD_DEFLATE, _PACK_BITS)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNASSOCIATED_ALPHA = 2
_OVERVIEW_OR_MASK = 0b101  # bits of the kind of a page: a smaller version, a mask
_TYPES: Final = {1: "B", 3: "H", 4: "I"}
_SIDE_BY_SIDE, _DIFFERENCES = 1, 2
_TAGS: Final = frozenset(_Tag)


@dataclass(frozen=True, slots=True)
class TiffPage:
    """One directory of a file: the values of the tags that matter here."""

    tags: dict[int, tuple[int, ...]]
    order: str

    def one(self, tag: int, default: int) -> int:
        """The first value of a tag."""
        values = self.tags.get(tag)
        return values[0] if values else default

    @property
    def size_hw(self) -> SizeHW:
        """As stored, before the orientation is applied."""
        return self.one(_Tag.HEIGHT, 0), self.one(_Tag.WIDTH, 0)

    @property
    def channels(self) -> int:
        """Samples a pixel."""
        return self.one(_Tag.CHANNELS, 1)

    @property
    def bits(self) -> int:
        """Of a sample; 0 if they differ."""
        values = set(self.tags.get(_Tag.BITS, (1,)))
        return values.pop() if len(values) == 1 else 0

    @property
    def chunk_sizes(self) -> tuple[int, ...]:
        """Bytes of its tiles or strips."""
        return self.tags.get(_Tag.TILE_SIZES if _Tag.TILE_OFFSETS in self.tags else _Tag.STRIP_SIZES, ())

    @property
    def orientation(self) -> int:
        """1..8, as that of EXIF; 1 if the tag makes no sense."""
        value = self.one(_Tag.ORIENTATION, 1)
        return value if 1 <= value <= 8 else 1

    @property
    def transparency(self) -> bool:
        """Whether the last channel is transparency that was not yet multiplied into the colours."""
        return self.tags.get(_Tag.EXTRA, ())[-1:] == (_UNASSOCIATED_ALPHA,)

    @property
    def plain(self) -> bool:
        """Whether its samples are grey, colour or channels of 8 or 16 bits that can be decoded here."""
        unsigned = set(self.tags.get(_Tag.SAMPLE_FORMAT, (1,))) == {1}
        meaning = self.one(_Tag.MEANING, _BLACK_IS_ZERO)
        return (
            self.bits in (8, 16)
            and unsigned
            and 1 <= self.channels <= MAX_PICTURE_CHANNELS
            and (meaning in (_WHITE_IS_ZERO, _BLACK_IS_ZERO) or (meaning == _RGB and self.channels >= 3))
            and self.one(_Tag.COMPRESSION, _NOT_COMPRESSED) in _DECODABLE
            and self.one(_Tag.PREDICTOR, 1) in (1, _DIFFERENCES)
            and self.one(_Tag.FILL_ORDER, 1) in (1, 2)
        )


def read_pages(stream: BinaryIO, where: object) -> list[TiffPage]:
    """The directories of a file, overviews and masks left out; at most ``MAX_PAGES``.

    Raises:
        ImageError: ``not-an-image`` for a damaged file.
    """
    start = stream.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(start[:4], "")
    if len(start) < 8 or not order:
        raise _damaged("header", where)
    (position,) = struct.unpack_from(order + "I", start, 4)
    seen: set[int] = set()
    pages: list[TiffPage] = []
    values_left = _MAX_VALUES
    while position and position not in seen and len(pages) < MAX_PAGES:
        seen.add(position)
        page, position = _read_page(stream, position, order, values_left, where)
        values_left -= sum(map(len, page.tags.values()))
        if not page.one(_Tag.SUBFILE, 0) & _OVERVIEW_OR_MASK:
            pages.append(page)
        if len(seen) > 2 * MAX_PAGES:
            break
    if not pages:
        raise _damaged("header", where)
    return pages


def tiff_samples(raw: bytes, pages: Sequence[TiffPage], where: object) -> Image:
    """The samples of plain pages of one size, as stored: uint8 or uint16 [H, W, channels].

    Args:
        raw: the file.
        pages: one of any number of channels, or several of one channel each.
        where: the file's name in errors.

    Raises:
        ImageError: ``truncated`` or ``unreadable``.
    """
    compressed = sum(size for page in pages for size in page.chunk_sizes)
    if compressed > 2 * len(raw):  # parts that lie on each other cost memory that the file does not have
        raise _damaged("directory", where)
    planes = [_page_samples(raw, page, where) for page in pages]
    return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2)


def _read_page(
    stream: BinaryIO, position: int, order: str, values_left: int, where: object
) -> tuple[TiffPage, int]:
    """The directory at a place of the file, and the place of the next; 0 if there is none."""
    (count,) = struct.unpack(order + "H", _read_at(stream, position, 2, where))
    if count > _MAX_ENTRIES:
        raise _damaged("directory", where)
    table = _read_at(stream, position + 2, 12 * count, where)
    # Some writers leave out the end of the last directory.
    tail = stream.read(4)
    following = struct.unpack(order + "I", tail)[0] if len(tail) == 4 else 0
    tags = {}
    for entry in range(count):
        tag, kind, values, _ = struct.unpack_from(order + "HHII", table, 12 * entry)
        letter = _TYPES.get(kind)
        if tag not in _TAGS or letter is None or not values:
            continue
        values_left -= values
        if values_left < 0:
            raise _damaged("directory", where)
        size = struct.calcsize(letter) * values
        content = table[12 * entry + 8 : 12 * entry + 12]
        if size > 4:
            content = _read_at(stream, struct.unpack(order + "I", content)[0], size, where)
        tags[tag] = struct.unpack(f"{order}{values}{letter}", content[:size])
    return TiffPage(tags, order), following


def _read_at(stream: BinaryIO, position: int, size: int, where: object) -> bytes:
    stream.seek(position)
    content = stream.read(size)
    if len(content) < size:
        raise _damaged("directory", where)
    return content


def _page_samples(raw: bytes, page: TiffPage, where: object) -> Image:
    height, width = page.size_hw
    chunks = _chunks(raw, page, where)
    samples: Image
    if page.one(_Tag.PLANES, _SIDE_BY_SIDE) == _SIDE_BY_SIDE or page.channels == 1:
        samples = _decoded(page, chunks, page.channels, where).reshape(height, width, page.channels)
    else:
        count = len(chunks) // page.channels
        parts = [chunks[plane * count : (plane + 1) * count] for plane in range(page.channels)]
        samples = np.stack([_decoded(page, part, 1, where) for part in parts], axis=2)
    if page.one(_Tag.PREDICTOR, 1) == _DIFFERENCES:
        samples = _summed(
            samples, page.one(_Tag.TILE_WIDTH, width) if _Tag.TILE_OFFSETS in page.tags else width
        )
    return np.invert(samples) if page.one(_Tag.MEANING, _BLACK_IS_ZERO) == _WHITE_IS_ZERO else samples


def _chunks(raw: bytes, page: TiffPage, where: object) -> list[bytes]:
    """The strips or tiles, still compressed, in their order."""
    height, width = page.size_hw
    if _Tag.TILE_OFFSETS in page.tags:
        tile_h, tile_w = page.one(_Tag.TILE_HEIGHT, 0), page.one(_Tag.TILE_WIDTH, 0)
        if min(tile_h, tile_w) < 1 or tile_h * tile_w > _MAX_TILE:
            raise _damaged("directory", where)
        offsets = page.tags[_Tag.TILE_OFFSETS]
        expected = -(-height // tile_h) * -(-width // tile_w)
    else:
        offsets = page.tags.get(_Tag.STRIP_OFFSETS, ())
        expected = -(-height // max(page.one(_Tag.STRIP_ROWS, height), 1))
    sizes = page.chunk_sizes
    planes = 1 if page.one(_Tag.PLANES, _SIDE_BY_SIDE) == _SIDE_BY_SIDE else page.channels
    if len(offsets) != expected * planes or len(sizes) != len(offsets):
        raise _damaged("directory", where)
    if any(offset + size > len(raw) for offset, size in zip(offsets, sizes, strict=True)):
        raise ImageError("the file ends before its picture does", where=where, kind="truncated")
    return [raw[offset : offset + size] for offset, size in zip(offsets, sizes, strict=True)]


def _decoded(page: TiffPage, chunks: Sequence[bytes], side_by_side: int, where: object) -> Image:
    """Chunks as a picture of one channel, [H, W * side_by_side]."""
    height, width = page.size_hw[0], page.size_hw[1] * side_by_side
    if width > _MAX_WIDTH:
        raise ImageError("too wide for its channels", where=where, kind="too-large")
    if page.one(_Tag.COMPRESSION, _NOT_COMPRESSED) == _NOT_COMPRESSED and page.one(_Tag.FILL_ORDER, 1) == 1:
        return _not_compressed(page, chunks, (height, width), where)
    file = _one_channel_file(page, chunks, width, side_by_side)
    try:
        found = cv2.imdecode(
            np.frombuffer(file, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        found = None
    dtype = np.uint8 if page.bits == 8 else np.uint16
    if found is None or found.size != height * width or found.dtype != dtype:
        raise ImageError("the TIFF data are damaged", where=where, kind="unreadable")
    return found.astype(dtype, copy=False).reshape(height, width)


def _not_compressed(page: TiffPage, chunks: Sequence[bytes], size_hw: SizeHW, where: object) -> Image:
    """The same for chunks that hold the samples themselves; libtiff takes 8-bit tiles of some sizes for damaged."""
    height, width = size_hw
    stored = np.dtype(np.uint8) if page.bits == 8 else np.dtype(page.order + "u2")
    samples: Image = np.empty(size_hw, np.uint8 if page.bits == 8 else np.uint16)
    rows, columns = max(min(page.one(_Tag.STRIP_ROWS, height), height), 1), width
    if _Tag.TILE_OFFSETS in page.tags:
        rows, columns = (
            page.one(_Tag.TILE_HEIGHT, 0),
            page.one(_Tag.TILE_WIDTH, 0) * (width // page.size_hw[1]),
        )
    places = [(top, left) for top in range(0, height, rows) for left in range(0, width, columns)]
    for (top, left), chunk in zip(places, chunks, strict=True):
        seen = samples[top : top + rows, left : left + columns]
        # A last strip ends with the picture, tiles are always whole.
        stored_rows = rows if _Tag.TILE_OFFSETS in page.tags else len(seen)
        if len(chunk) < stored_rows * columns * stored.itemsize:
            raise ImageError("the TIFF data are damaged", where=where, kind="unreadable")
        values = np.frombuffer(chunk, stored, stored_rows * columns).reshape(stored_rows, columns)
        seen[...] = values[: seen.shape[0], : seen.shape[1]]
    return samples


def _one_channel_file(page: TiffPage, chunks: Sequence[bytes], width: int, side_by_side: int) -> bytes:
    """A TIFF file with the same compressed content, said to be of one channel and without differences."""
    order = page.order
    body = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    places = []
    for chunk in chunks:
        places.append(len(body))
        body += chunk
        body += bytes(len(body) % 2)
    tags: dict[int, tuple[int, ...]] = {
        _Tag.WIDTH: (width,),
        _Tag.HEIGHT: (page.size_hw[0],),
        _Tag.BITS: (page.bits,),
        _Tag.COMPRESSION: (page.one(_Tag.COMPRESSION, _NOT_COMPRESSED),),
        _Tag.MEANING: (_BLACK_IS_ZERO,),
        _Tag.FILL_ORDER: (page.one(_Tag.FILL_ORDER, 1),),
        _Tag.CHANNELS: (1,),
    }
    sizes = tuple(len(chunk) for chunk in chunks)
    if _Tag.TILE_OFFSETS in page.tags:
        tags[_Tag.TILE_WIDTH] = (page.one(_Tag.TILE_WIDTH, 0) * side_by_side,)
        tags[_Tag.TILE_HEIGHT] = (page.one(_Tag.TILE_HEIGHT, 0),)
        tags |= {_Tag.TILE_OFFSETS: tuple(places), _Tag.TILE_SIZES: sizes}
    else:
        tags[_Tag.STRIP_ROWS] = (page.one(_Tag.STRIP_ROWS, page.size_hw[0]),)
        tags |= {_Tag.STRIP_OFFSETS: tuple(places), _Tag.STRIP_SIZES: sizes}
    entries = [_entry(tag, tags[tag], order, body) for tag in sorted(tags)]
    struct.pack_into(order + "I", body, 4, len(body))
    body += struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)
    return bytes(body)


def _entry(tag: int, values: tuple[int, ...], order: str, body: bytearray) -> bytes:
    """A line of a directory; several values go to the end of the file first."""
    short = tag in (_Tag.BITS, _Tag.COMPRESSION, _Tag.MEANING, _Tag.FILL_ORDER, _Tag.CHANNELS)
    head = struct.pack(order + "HHI", tag, 3 if short else 4, len(values))
    if short:
        return head + struct.pack(order + "HH", values[0], 0)
    if len(values) == 1:
        return head + struct.pack(order + "I", values[0])
    place = len(body)
    body += struct.pack(f"{order}{len(values)}I", *values)
    return head + struct.pack(order + "I", place)


def _summed(differences: Image, run: int) -> Image:
    """Values of differences from the left neighbour, channel by channel, within runs of so many pixels."""
    values = np.empty_like(differences)
    for left in range(0, differences.shape[1], run):
        part = slice(left, left + run)
        # In the type of the differences, so that it wraps around as they do.
        np.cumsum(differences[:, part], axis=1, dtype=differences.dtype, out=values[:, part])
    return values


def _damaged(part: str, where: object) -> ImageError:
    return ImageError(f"damaged TIFF {part}", where=where, kind="not-an-image")
