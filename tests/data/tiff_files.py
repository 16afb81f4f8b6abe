"""TIFF files that no library of the project writes: any channels, planes, tiles, byte orders."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def tiff_file(
    pages: Sequence[NDArray[np.integer]],
    *,
    planar: bool = False,
    tiles: int = 0,
    deflate: bool = False,
    differences: bool = False,
    big_endian: bool = False,
    more_tags: dict[int, int] | None = None,
) -> bytes:
    """A TIFF file of pages [H, W, C] of uint8 or uint16.

    Args:
        pages: as which it is to be read.
        planar: one plane a channel instead of samples side by side.
        tiles: side of its tiles, a multiple of 16; 0: strips of five rows.
        deflate: compressed.
        differences: stored as differences from the left neighbour.
        big_endian: byte order.
        more_tags: short values to add or to put in place of others, by tag.
    """
    order = ">" if big_endian else "<"
    out = bytearray((b"MM\0*" if big_endian else b"II*\0") + bytes(4))
    link = 4
    for page in pages:
        channels = page.shape[2]
        planes = [page[..., channel : channel + 1] for channel in range(channels)] if planar else [page]
        chunks = [chunk for plane in planes for chunk in _chunks(plane, tiles, differences, order)]
        if deflate:
            chunks = [zlib.compress(chunk) for chunk in chunks]
        places = []
        for chunk in chunks:
            places.append(len(out))
            out += chunk + bytes(len(chunk) % 2)
        tags = _tags(page, places, [len(chunk) for chunk in chunks], tiles)
        tags |= {259: ("H", [8 if deflate else 1]), 284: ("H", [2 if planar else 1])}
        tags |= {317: ("H", [2])} if differences else {}
        tags |= {tag: ("H", [value]) for tag, value in (more_tags or {}).items()}
        entries = b""
        for tag, (letter, values) in sorted(tags.items()):
            content = struct.pack(f"{order}{len(values)}{letter}", *values)
            if len(content) > 4:
                place = len(out)
                out += content
                content = struct.pack(order + "I", place)
            kind = {"H": 3, "I": 4}[letter]
            entries += struct.pack(order + "HHI", tag, kind, len(values)) + content.ljust(4, b"\0")
        struct.pack_into(order + "I", out, link, len(out))
        out += struct.pack(order + "H", len(tags)) + entries
        link = len(out)
        out += bytes(4)
    return bytes(out)


def _chunks(plane: NDArray[np.integer], tiles: int, differences: bool, order: str) -> list[bytes]:
    height, width = plane.shape[:2]
    if tiles:
        plane = np.pad(plane, ((0, -height % tiles), (0, -width % tiles), (0, 0)))
        parts = [
            plane[top : top + tiles, left : left + tiles]
            for top in range(0, plane.shape[0], tiles)
            for left in range(0, plane.shape[1], tiles)
        ]
    else:
        parts = [plane[top : top + 5] for top in range(0, height, 5)]
    if differences:
        parts = [np.diff(part, axis=1, prepend=np.zeros_like(part[:, :1])) for part in parts]
    return [part.astype(part.dtype.newbyteorder(order)).tobytes() for part in parts]


def _tags(
    page: NDArray[np.integer], places: list[int], sizes: list[int], tiles: int
) -> dict[int, tuple[str, list[int]]]:
    height, width, channels = page.shape
    colours = 3 if channels >= 3 else 1
    tags = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8 * page.dtype.itemsize] * channels),
        262: ("H", [2 if colours == 3 else 1]), 277: ("H", [channels]),
    }  # fmt: skip
    if tiles:
        tags |= {322: ("I", [tiles]), 323: ("I", [tiles]), 324: ("I", places), 325: ("I", sizes)}
    else:
        tags |= {273: ("I", places), 278: ("I", [5]), 279: ("I", sizes)}
    if channels > colours:
        tags[338] = ("H", [0] * (channels - colours))
    return tags
