"""Decoding of a checked picture file to the samples that it holds, whatever their depth and number of channels.

Beside :mod:`vedette.data.pixels`, which makes 8-bit RGB of everything and is all that 8-bit RGB needs. Callers go
through :mod:`vedette.data.images`, which checks size and format first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageFile

from vedette.data.headers import png_bit_depth
from vedette.data.npy import NpyHeader, npy_samples, read_npy_header
from vedette.data.pixels import converted_with_pillow, decode_jpeg, samples_16_bit
from vedette.data.tiff import TiffPage, read_pages, tiff_samples
from vedette.errors import ImageError

if TYPE_CHECKING:
    from vedette.core.types import Image, SizeHW

_PNG_COLOUR_TYPE, _GREY_AND_ALPHA = 25, 4
"""Place of the byte in the file, and its value."""


@dataclass(frozen=True, slots=True)
class StoredSamples:
    """What a file says of its samples, and what its header was read with.

    Attributes:
        size_hw: as stored.
        channels: samples a pixel.
        bits: of a sample, as it is decoded: 8 or 16.
        transparency: the last channel is.
        orientation: that decoding has to apply, besides that of EXIF.
        opened: what decodes it.
    """

    size_hw: SizeHW
    channels: int
    bits: int
    transparency: bool
    orientation: int
    opened: NpyHeader | Sequence[TiffPage] | ImageFile.ImageFile

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the picture in memory."""
        return self.size_hw[0] * self.size_hw[1] * self.channels * self.bits // 8


def npy_stored(stream: BinaryIO, where: object) -> StoredSamples:
    """The header of an NPY file. Raises ImageError."""
    header = read_npy_header(stream, where)
    height, width, channels = header.shape
    return StoredSamples((height, width), channels, header.bits, False, 1, header)


def tiff_stored(stream: BinaryIO, where: object) -> StoredSamples | None:
    """The directory of a TIFF file; None if Pillow has to read it: palettes, CMYK, other compressions.

    Raises:
        ImageError: ``not-an-image``, ``multiple-pictures`` for pages that are no channels of one picture, or
            ``unsupported-format`` for samples of several channels that are neither 8 nor 16 bits.
    """
    pages = read_pages(stream, where)
    first = pages[0]
    if not all(page.plain for page in pages):
        # Pillow would cut off the low byte of 16-bit colours.
        depths = (1, 2, 4, 8, 16) if first.channels == 1 else (8,)
        if len(pages) == 1 and first.channels <= 4 and first.bits in depths:
            return None
        raise ImageError(
            f"{first.channels} channels of {first.bits or 'different'} bits, of a kind that is not read",
            where=where,
            kind="unsupported-format",
            fix="save it as whole numbers of 8 or 16 bits, uncompressed or compressed by LZW or Deflate",
        )
    alike = {(page.size_hw, page.channels, page.bits, page.orientation) for page in pages}
    if len(pages) > 1 and (len(alike) > 1 or first.channels > 1):
        raise ImageError(
            f"holds {len(pages)} pictures",
            where=where,
            kind="multiple-pictures",
            fix="save each in a file of its own; only pages of one channel and one size are taken as channels",
        )
    channels = first.channels if len(pages) == 1 else len(pages)
    return StoredSamples(first.size_hw, channels, first.bits, first.transparency, first.orientation, pages)


def pillow_stored(picture: ImageFile.ImageFile, start: bytes) -> StoredSamples:
    """Any other picture, by what Pillow has found in its header."""
    transparency = picture.has_transparency_data
    if picture.mode.startswith("I;16") or picture.mode in ("1", "L"):
        channels = 1
    elif picture.mode == "LA" or (picture.format == "PNG" and start[_PNG_COLOUR_TYPE] == _GREY_AND_ALPHA):
        channels = 2  # Pillow says RGBA where they have 16 bits
    else:
        channels = 4 if transparency else 3
    deep = picture.mode.startswith("I;16") or (picture.format == "PNG" and png_bit_depth(start) == 16)
    transparency = channels in (2, 4)
    size_hw = picture.height, picture.width
    return StoredSamples(size_hw, channels, 16 if deep else 8, transparency, 1, picture)


def decode_samples(raw: bytes, stored: StoredSamples, where: object, reduce: int = 1) -> Image:
    """The samples of a file as it holds them: uint8 or uint16 [H, W, channels], not yet turned.

    Args:
        raw: the file.
        stored: of its header.
        where: its name in errors.
        reduce: 1, 2, 4 or 8: a JPEG may be divided by this.

    Raises:
        ImageError: ``truncated``, ``unreadable``, or ``unsupported-format`` for samples without a meaning.
    """
    opened = stored.opened
    if isinstance(opened, NpyHeader):
        return npy_samples(raw, opened, where)
    if not isinstance(opened, ImageFile.ImageFile):
        return tiff_samples(raw, opened, where)
    if opened.format == "JPEG" and opened.mode in ("RGB", "L"):
        return decode_jpeg(raw, where, reduce)[..., : stored.channels]
    if stored.bits == 16 and not opened.mode.startswith("I;16"):
        deep = samples_16_bit(raw, opened, where)
        if stored.channels == 2 and deep.ndim == 3:
            deep = deep[..., [0, 3]]  # OpenCV has no grey with transparency, and makes colour of it
        return deep.reshape(*deep.shape[:2], -1)
    return converted_with_pillow(opened, partial(_pillow_samples, stored), where)


def _pillow_samples(stored: StoredSamples, picture: Pillow.Image) -> Image:
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)[..., None]
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[stored.channels]
    samples = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return samples.reshape(*samples.shape[:2], -1)
