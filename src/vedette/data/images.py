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
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from vedette.data.headers import exif_orientation, jpeg_is_complete, png_bit_depth, sniff_format, webp_canvas
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
TRANSPARENT_BACKGROUND: Final = 255

# Plugins are called directly: Image.open would try every installed format and warn on its own size limit.
_PLUGINS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}

# cv2 calls the reduced colour reads BGR; the grey ones carry the scale alone and combine with IMREAD_COLOR_RGB.
_REDUCED_FLAGS: Final = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
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
        pixels = _decode_jpeg(raw, where, reduce)
    elif header.bit_depth == 16 and header.mode not in ("I;16", "I;16B", "I;16L"):
        pixels = _decode_16_bit_colour(raw, picture, where)
    else:
        pixels = _decode_with_pillow(picture, where)
    return np.ascontiguousarray(orient(pixels, header.orientation))


def orient(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror [H, W, ...] as an EXIF orientation of 1..8 says; returns a view."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    mirrored_rows = orientation in (3, 4, 7, 8)
    mirrored_columns = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if mirrored_rows else 1, :: -1 if mirrored_columns else 1]


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


def _decode_jpeg(raw: bytes, where: object, reduce: int) -> NDArray[np.uint8]:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | _REDUCED_FLAGS[reduce]
    if not jpeg_is_complete(raw):
        raise ImageError("the JPEG data end early", where=where, kind="truncated")
    pixels = _opencv_decode(raw, flags)
    if pixels is None:
        raise ImageError("the JPEG data are damaged", where=where, kind="unreadable")
    if _ends_in_undecoded_grey(raw, pixels, flags):
        raise ImageError("the JPEG data end early", where=where, kind="truncated")
    return pixels


def _ends_in_undecoded_grey(raw: bytes, pixels: NDArray[np.uint8], flags: int) -> bool:
    """Whether the decoder ran out of data in spite of an end marker.

    It then leaves the remaining blocks at grey 128. A picture may really end in that grey, so a suspect is decoded
    once more with bytes put in before the end marker: a complete picture does not change by that, one that ran
    out of data takes them for picture content.
    """
    if not (pixels[-1, -1] == 128).all():
        return False
    end = raw.rfind(b"\xff\xd9")
    filler = bytes(range(1, 255, 2)) * 8
    again = _opencv_decode(raw[:end] + filler + raw[end:], flags)
    return again is None or not np.array_equal(again, pixels)


def _opencv_decode(raw: bytes, flags: int) -> NDArray[np.uint8] | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), flags)
    except cv2.error:
        return None
    return pixels  # type: ignore[return-value]  # cv2 declares any dtype; these flags give uint8


def _decode_16_bit_colour(raw: bytes, picture: ImageFile.ImageFile, where: object) -> NDArray[np.uint8]:
    """16-bit RGB(A): Pillow would cut off the low byte, so OpenCV decodes and the samples are scaled."""
    _verify(picture, where)
    try:
        samples = cv2.imdecode(
            np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
        )
    except cv2.error:
        samples = None
    if samples is None or samples.dtype != np.uint16 or samples.ndim != 3:
        raise ImageError(
            "16-bit samples of a kind that cannot be read", where=where, kind="unsupported-format"
        )
    pixels = _to_8_bit(samples.astype(np.uint16, copy=False))
    if pixels.shape[2] == 4:
        return _on_background(np.ascontiguousarray(pixels[..., [2, 1, 0, 3]]))
    return np.ascontiguousarray(pixels[..., ::-1])


def _verify(picture: ImageFile.ImageFile, where: object) -> None:
    """Check sums of a PNG; for other formats this does little, and decoding itself has to fail."""
    try:
        picture.verify()
    except Exception as error:  # a parser facing hostile bytes
        raise ImageError(f"damaged ({error})", where=where, kind="unreadable") from None


def _decode_with_pillow(picture: ImageFile.ImageFile, where: object) -> NDArray[np.uint8]:
    try:
        picture.load()
        return _to_rgb(picture, where)
    except ImageError:
        raise
    except (OSError, EOFError, SyntaxError, ValueError, zlib.error) as error:
        truncated = "truncated" in str(error).lower() or isinstance(error, EOFError)
        kind = "truncated" if truncated else "unreadable"
        raise ImageError(f"cannot be decoded ({error})", where=where, kind=kind) from None
    except Exception as error:  # a parser facing hostile bytes
        raise ImageError(f"cannot be decoded ({error})", where=where, kind="unreadable") from None


def _to_rgb(picture: Image.Image, where: object) -> NDArray[np.uint8]:
    if picture.mode.startswith("I;16"):
        grey = _to_8_bit(np.asarray(picture).astype(np.uint16))
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode not in (
        "1",
        "L",
        "P",
        "RGB",
        "RGBA",
        "RGBX",
        "LA",
        "La",
        "PA",
        "RGBa",
        "CMYK",
        "YCbCr",
        "LAB",
    ):
        raise ImageError(
            f"samples of type {picture.mode} are not supported", where=where, kind="unsupported-format"
        )
    if picture.has_transparency_data:
        return _on_background(np.asarray(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))


def _to_8_bit(samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """0..65535 to 0..255, rounded to nearest."""
    return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _on_background(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composite RGBA [H, W, 4] on the background, rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.uint16)
    mixed = rgba[..., :3] * alpha + TRANSPARENT_BACKGROUND * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)
