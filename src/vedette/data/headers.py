"""What the bytes of a picture file say without decoding it: format, size, orientation, completeness.

Every function takes hostile bytes and answers without raising.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vedette.core.types import SizeHW

_EXIF_ORIENTATION_TAG = 0x0112
_UNSIGNED_SHORT = 3


def sniff_format(start: bytes) -> str | None:
    """Name of the picture format by its first bytes (at least 16), or None if they are those of no picture."""
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "webp"
    if start[4:8] == b"ftyp":
        return {b"avif": "avif", b"avis": "avif"}.get(start[8:12], "heif")
    signatures = {
        b"\xff\xd8\xff": "jpeg",
        b"\x89PNG\r\n\x1a\n": "png",
        b"BM": "bmp",
        b"II*\x00": "tiff",
        b"MM\x00*": "tiff",
        b"II+\x00": "bigtiff",
        b"MM\x00+": "bigtiff",
        b"GIF8": "gif",
        b"\x00\x00\x00\x0cjP": "jpeg2000",
        b"\xff\x4f\xff\x51": "jpeg2000",
        b"\xff\x0a": "jpeg-xl",
        b"8BPS": "psd",
        b"<svg": "svg",
        b"\x76\x2f\x31\x01": "openexr",
        b"\x93NUMPY": "npy",
    }
    return next((name for magic, name in signatures.items() if start.startswith(magic)), None)


def webp_canvas(start: bytes) -> SizeHW | None:
    """(height, width) from the first 30 bytes of a WebP file, or None if they are damaged."""
    chunk, body = start[12:16], start[20:30]
    if len(body) < 10:
        return None
    if chunk == b"VP8X":  # 24-bit fields that hold size minus one
        width = 1 + int.from_bytes(body[4:7], "little")
        height = 1 + int.from_bytes(body[7:10], "little")
    elif chunk == b"VP8L":  # one signature byte, then two 14-bit fields that hold size minus one
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif chunk == b"VP8 ":  # three bytes of frame tag, three of start code, then two 14-bit fields
        width, height = (value & 0x3FFF for value in struct.unpack("<HH", body[6:10]))
    else:
        return None
    return height, width


def png_bit_depth(start: bytes) -> int:
    """Bits a sample from the first 25 bytes of a PNG file (8 if they are missing)."""
    return start[24] if len(start) > 24 else 8


def exif_orientation(exif: bytes) -> int:
    """Orientation 1..8 from an EXIF block, with or without its ``Exif`` prefix; 1 if absent or damaged."""
    exif = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(entries):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", exif, directory + 2 + 12 * entry)
            if tag == _EXIF_ORIENTATION_TAG:
                valid = kind == _UNSIGNED_SHORT and count == 1 and 1 <= value <= 8
                return value if valid else 1
    except struct.error:
        return 1
    return 1


def jpeg_is_complete(raw: bytes) -> bool:
    """Whether the end-of-image marker follows the picture data.

    The segments before the first scan are skipped by their lengths, so the marker of an embedded thumbnail does
    not count. Inside picture data 0xFF is followed by 0x00 or a restart marker, so FF D9 there is the end.
    """
    position = 2
    while position + 4 <= len(raw):
        if raw[position] != 0xFF:
            return False
        marker = raw[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a length
            position += 2
            continue
        position += 2 + int.from_bytes(raw[position + 2 : position + 4], "big")
        if marker == 0xDA:
            # From behind, where it is: a search from here would read the whole picture.
            return raw.rfind(b"\xff\xd9") >= position
    return False
