"""Decoding of a checked picture file to RGB uint8, whatever layout its samples have.

Callers go through :mod:`vedette.data.images`, which checks size and format first.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from vedette.data.headers import jpeg_is_complete
from vedette.errors import ImageError

ArrayT = TypeVar("ArrayT", bound=NDArray[np.generic])
AnySample = TypeVar("AnySample", bound=np.generic)

TRANSPARENT_BACKGROUND: Final = 255

_PILLOW_MODES: Final = frozenset(
    {"1", "L", "P", "RGB", "RGBA", "RGBX", "LA", "La", "PA", "RGBa", "CMYK", "YCbCr", "LAB"}
)

# The reduced colour reads of cv2 are BGR; the grey ones carry the scale alone and combine with IMREAD_COLOR_RGB.
_REDUCED_FLAGS: Final = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


def decode_jpeg(raw: bytes, where: object, reduce: int = 1) -> NDArray[np.uint8]:
    """A JPEG of colour or grey samples, as stored; ``reduce`` (1, 2, 4, 8) divides its size, rounded up.

    Raises:
        ImageError: truncated or unreadable. A picture that is only partly there is never returned.
    """
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED_FLAGS[reduce]
    if not jpeg_is_complete(raw):
        raise ImageError("the JPEG data end early", where=where, kind="truncated")
    pixels = _opencv_decode(raw, flags)
    if pixels is None:
        raise ImageError("the JPEG data are damaged", where=where, kind="unreadable")
    if _ends_in_undecoded_grey(raw, pixels, flags):
        raise ImageError("the JPEG data end early", where=where, kind="truncated")
    return pixels


def decode_16_bit(raw: bytes, picture: ImageFile.ImageFile, where: object) -> NDArray[np.uint8]:
    """A picture of 16-bit samples, scaled to 8 bits; Pillow would cut off the low byte of colour samples.

    Raises:
        ImageError: damaged, or samples that OpenCV cannot read.
    """
    pixels = _to_8_bit(samples_16_bit(raw, picture, where))
    if pixels.ndim == 2:
        return _grey_to_rgb(pixels)
    return _on_background(pixels) if pixels.shape[2] == 4 else pixels


def samples_16_bit(raw: bytes, picture: ImageFile.ImageFile, where: object) -> NDArray[np.uint16]:
    """16-bit samples as OpenCV reads them: [H, W], RGB [H, W, 3] or RGBA [H, W, 4].

    Raises:
        ImageError: damaged, or samples that OpenCV cannot read.
    """
    try:
        picture.verify()  # OpenCV accepts a PNG whose check sums are wrong
    except Exception as error:  # a parser facing hostile bytes
        raise ImageError(f"damaged ({error})", where=where, kind="unreadable") from None
    try:
        samples = cv2.imdecode(
            np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        samples = None
    if samples is None or samples.dtype != np.uint16:
        raise ImageError(
            "16-bit samples of a kind that cannot be read", where=where, kind="unsupported-format"
        )
    deep = samples.astype(np.uint16, copy=False)
    if deep.ndim == 2:
        return deep
    return deep[..., ::-1] if deep.shape[2] == 3 else deep[..., [2, 1, 0, 3]]


def decode_with_pillow(picture: ImageFile.ImageFile, where: object) -> NDArray[np.uint8]:
    """Any other picture.

    Raises:
        ImageError: truncated, unreadable, or of a sample type that has no 8-bit meaning.
    """
    return converted_with_pillow(picture, _pillow_to_rgb, where)


def converted_with_pillow(
    picture: ImageFile.ImageFile, convert: Callable[[Image.Image], ArrayT], where: object
) -> ArrayT:
    """What a function makes of a picture once it is decoded.

    Raises:
        ImageError: truncated, unreadable, or of a sample type that has no meaning in 8 or 16 bits.
    """
    try:
        picture.load()
        if picture.mode not in _PILLOW_MODES and not picture.mode.startswith("I;16"):
            raise ImageError(
                f"samples of type {picture.mode} are not supported",
                where=where,
                kind="unsupported-format",
                fix="save it with 8 or 16 bits a sample",
            )
        return convert(picture)
    except ImageError:
        raise
    except (OSError, EOFError, SyntaxError, ValueError, zlib.error) as error:
        truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
        kind = "truncated" if truncated else "unreadable"
        raise ImageError(f"cannot be decoded ({error})", where=where, kind=kind) from None
    except Exception as error:  # a parser facing hostile bytes
        raise ImageError(f"cannot be decoded ({error})", where=where, kind="unreadable") from None


def orient(pixels: NDArray[AnySample], orientation: int) -> NDArray[AnySample]:
    """Turn and mirror [H, W, ...] as an EXIF orientation of 1..8 says; returns a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def _opencv_decode(raw: bytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), flags)
    except cv2.error:
        return None
    return pixels  # type: ignore[return-value]  # cv2 declares any dtype; these flags give uint8


def _ends_in_undecoded_grey(raw: bytes, pixels: NDArray[np.uint8], flags: int) -> bool:
    """Whether the decoder ran out of data in spite of an end marker.

    It then leaves the remaining blocks at grey 128. A picture may really end in that grey, so a suspect is
    decoded once more with bytes put in before the end marker: a complete picture does not change by that, one
    that ran out of data takes them for picture content.
    """
    if not (pixels[-1, -1] == 128).all():
        return False
    end = raw.rfind(b"\xff\xd9")
    filler = bytes(range(1, 255, 2)) * 8
    again = _opencv_decode(raw[:end] + filler + raw[end:], flags)
    return again is None or not np.array_equal(again, pixels)


def _pillow_to_rgb(picture: Image.Image) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):
        return _grey_to_rgb(_to_8_bit(np.asarray(picture).astype(np.uint16)))
    if picture.has_transparency_data:
        return _on_background(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))


def _grey_to_rgb(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[..., None], 3, axis=2)


def _to_8_bit(samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """0..65535 to 0..255, rounded to nearest."""
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _on_background(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite RGBA [H, W, 4] on the background, rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + TRANSPARENT_BACKGROUND * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)
