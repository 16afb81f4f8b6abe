"""Picture files: header check, decoding, orientation, colour order. The only way a picture enters vedette.

A file is read once, recognised by its first bytes (the suffix plays no part), checked by its header, and only
then decoded to RGB uint8 [H, W, 3] with its EXIF orientation applied. Data sets are never written to.

Rules that every stage shares:

- Formats: JPEG (of an MPO file the first picture), PNG, WebP, BMP, TIFF; one picture a file.
- Orientation: the EXIF tag 0x0112, all eight values; a damaged EXIF block counts as "upright".
- Grey, palette, 1-bit and CMYK pictures become RGB. 16-bit samples are scaled by 255/65535, not cut off.
- Transparency is composited on white, as a browser shows it.

:class:`~vedette.errors.ImageError` carries one of these kinds:

======================  ==============================================================
``missing``             there is no such file
``empty``               the file has no bytes
``not-an-image``        the first bytes are those of no picture format, or the header is damaged
``unsupported-format``  a picture, but of a format or sample type outside the list above
``multiple-pictures``   animated or with several pages
``too-large``           more bytes or pixels than :class:`ImageLimits` allows
``bad-aspect``          one side is more than ``max_aspect`` times the other
``truncated``           the file ends before its picture does
``unreadable``          damaged content, or the file cannot be opened
======================  ==============================================================
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from PIL import (
    BmpImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vedette.data.headers import exif_orientation, png_bit_depth, sniff_format, webp_canvas
from vedette.data.pixels import decode_16_bit, decode_jpeg, decode_with_pillow, orient
from vedette.errors import ImageError

if TYPE_CHECKING:
    from vedette.core.types import Image as RgbImage
    from vedette.core.types import SizeHW

IMAGE_KINDS: Final = (
    "missing",
    "empty",
    "not-an-image",
    "unsupported-format",
    "multiple-pictures",
    "too-large",
    "bad-aspect",
    "truncated",
    "unreadable",
)

IMAGE_FORMATS: Final = ("jpeg", "png", "webp", "bmp", "tiff")

# Plugins are called directly: Image.open would try every installed format and warn on its own size limit.
_PLUGINS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What is accepted before anything is decoded.

    Attributes:
        max_pixels: height times width.
        max_bytes: size of the file.
        max_aspect: longer side over shorter side.
        formats: accepted formats, from :data:`IMAGE_FORMATS`.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 64_000_000
    max_aspect: float = 200.0
    formats: tuple[str, ...] = IMAGE_FORMATS


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the first bytes of a file say.

    Attributes:
        size_hw: (height, width) after the orientation is applied: the size of the decoded picture.
        format: one of :data:`IMAGE_FORMATS`.
        orientation: EXIF orientation that decoding applies, 1..8; 1 = stored upright.
        mode: sample layout in Pillow's names ("RGB", "L", "P", "CMYK", "I;16" ...).
        bit_depth: bits a sample, 8 or 16 (or 1, 2, 4 for PNG).
    """

    size_hw: SizeHW
    format: str
    orientation: int
    mode: str
    bit_depth: int


def probe_image(path: Path | str, *, limits: ImageLimits | None = None) -> ImageHeader:
    """Read and check the header of a picture file; nothing is decoded.

    Raises:
        ImageError: see the kinds above; damage behind the header is not seen here.
    """
    limits = limits or ImageLimits()
    _check_file_size(path, limits)
    try:
        with Path(path).open("rb") as stream:
            header, _ = _check_header(stream, path, limits)
    except OSError as error:
        raise _cannot_open(error, path) from None
    return header


def read_image(path: Path | str, *, limits: ImageLimits | None = None, reduce: int = 1) -> RgbImage:
    """Read a picture file.

    Args:
        path: the file; it is read once and never written.
        limits: what to refuse before decoding.
        reduce: 1, 2, 4 or 8: the size may be divided by this (rounded up) while decoding, which is faster.
            Only JPEG does so; other formats come in full size.

    Returns:
        RGB uint8 [H, W, 3], upright, contiguous.

    Raises:
        ImageError: with ``where`` = path; see the kinds above.
    """
    limits = limits or ImageLimits()
    _check_file_size(path, limits)
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(limits.max_bytes + 1)
    except OSError as error:
        raise _cannot_open(error, path) from None
    return decode_image(raw, where=path, limits=limits, reduce=reduce)


def decode_image(
    raw: bytes, *, where: object = "", limits: ImageLimits | None = None, reduce: int = 1
) -> RgbImage:
    """The same as :func:`read_image` for the bytes of a file; ``where`` names them in errors."""
    limits = limits or ImageLimits()
    if not raw:
        raise ImageError("the file is empty", where=where, kind="empty")
    if len(raw) > limits.max_bytes:
        raise _too_many_bytes(len(raw), where, limits)
    header, picture = _check_header(io.BytesIO(raw), where, limits)
    if header.format == "jpeg" and header.mode in ("RGB", "L"):
        pixels = decode_jpeg(raw, where, reduce)
    elif header.bit_depth == 16 and header.mode not in ("I;16", "I;16B", "I;16L"):
        pixels = decode_16_bit(raw, picture, where)
    else:
        pixels = decode_with_pillow(picture, where)
    return np.ascontiguousarray(orient(pixels, header.orientation))


def _check_file_size(path: Path | str, limits: ImageLimits) -> None:
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise _cannot_open(error, path) from None
    if size > limits.max_bytes:
        raise _too_many_bytes(size, path, limits)


def _too_many_bytes(size: int, where: object, limits: ImageLimits) -> ImageError:
    return ImageError(f"file of {size} bytes, more than {limits.max_bytes}", where=where, kind="too-large")


def _cannot_open(error: OSError, path: object) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError("there is no such file", where=path, kind="missing")
    return ImageError(f"cannot be opened ({error.strerror or error})", where=path, kind="unreadable")


def _check_header(
    stream: BinaryIO, where: object, limits: ImageLimits
) -> tuple[ImageHeader, ImageFile.ImageFile]:
    """Recognise the format, read size and orientation, refuse what the limits exclude."""
    start = stream.read(64)
    stream.seek(0)
    image_format = _accepted_format(start, where, limits)
    if image_format == "webp":
        # Pillow prepares the whole canvas while it reads a WebP header, so the size is taken beforehand.
        _check_size(webp_canvas(start), where, limits)
    try:
        picture = _PLUGINS[image_format](stream)
        frames = int(getattr(picture, "n_frames", 1))
    except Exception as error:  # a parser facing hostile bytes: any failure means a damaged header
        truncated = isinstance(error, EOFError) or "truncated" in str(error).lower()
        kind = "truncated" if truncated else "not-an-image"
        raise ImageError(f"damaged {image_format.upper()} header ({error})", where=where, kind=kind) from None
    stored_hw = (picture.height, picture.width)
    _check_size(stored_hw, where, limits)
    if frames > 1:
        raise ImageError(
            f"holds {frames} pictures",
            where=where,
            kind="multiple-pictures",
            fix="save each in a file of its own",
        )
    # Pillow turns TIFF pictures itself; for the other formats the tag is still to be applied.
    exif = picture.info.get("exif", b"") if image_format != "tiff" else b""
    orientation = exif_orientation(exif) if isinstance(exif, bytes) else 1
    header = ImageHeader(
        size_hw=stored_hw if orientation < 5 else (stored_hw[1], stored_hw[0]),
        format=image_format,
        orientation=orientation,
        mode=picture.mode,
        bit_depth=_bit_depth(picture, start),
    )
    return header, picture


def _accepted_format(start: bytes, where: object, limits: ImageLimits) -> str:
    if not start:
        raise ImageError("the file is empty", where=where, kind="empty")
    image_format = sniff_format(start)
    if image_format is None:
        raise ImageError(
            "is not a picture, whatever its name says",
            where=where,
            kind="not-an-image",
            fix=f"give one of {', '.join(limits.formats)}",
        )
    if image_format not in limits.formats or image_format not in _PLUGINS:
        raise ImageError(
            f"unsupported format {image_format}",
            where=where,
            kind="unsupported-format",
            fix=f"convert it to one of {', '.join(limits.formats)}",
        )
    return image_format


def _check_size(size_hw: SizeHW | None, where: object, limits: ImageLimits) -> None:
    if size_hw is None or min(size_hw) < 1:
        raise ImageError("the header gives no size", where=where, kind="not-an-image")
    height, width = size_hw
    if height * width > limits.max_pixels:
        raise ImageError(
            f"{width} x {height} pixels, more than {limits.max_pixels} in all", where=where, kind="too-large"
        )
    if max(size_hw) > limits.max_aspect * min(size_hw):
        raise ImageError(
            f"{width} x {height} pixels, one side more than {limits.max_aspect:g} times the other",
            where=where,
            kind="bad-aspect",
        )


def _bit_depth(picture: ImageFile.ImageFile, start: bytes) -> int:
    if picture.mode.startswith("I;16"):
        return 16
    if isinstance(picture, PngImagePlugin.PngImageFile):
        return png_bit_depth(start)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        bits = picture.tag_v2.get(258, 8)
        return int(max(bits) if isinstance(bits, tuple) else bits)
    return 8
