"""Picture files: header check, decoding, orientation, colour order. The only way a picture enters vedette.

A file is read once, recognised by its first bytes (the suffix plays no part), checked by its header, and only
then decoded to RGB uint8 [H, W, 3] with its EXIF orientation applied, or to the samples of another
:class:`~vedette.core.picture_format.PictureFormat`. Data sets are never written to.

Rules that every stage shares:

- Formats: JPEG (of an MPO file the first picture), PNG, WebP, BMP, TIFF, NPY; one picture a file.
- Orientation: the EXIF tag 0x0112, all eight values; a damaged EXIF block counts as "upright".
- Grey, palette, 1-bit and CMYK pictures become RGB. 16-bit samples are scaled by 255/65535, not cut off.
- Transparency is composited on white, as a browser shows it.
- For another picture format samples keep their depth and channels; what differs from it is converted by the rule in
  :mod:`vedette.core.picture_format`, or refused. TIFF files may then hold any number of channels, or a page for each.

:class:`~vedette.errors.ImageError` carries one of these kinds:

======================  ==============================================================
``missing``             there is no such file
``empty``               the file has no bytes
``not-an-image``        the first bytes are those of no picture format, or the header is damaged
``unsupported-format``  a picture, but of a format or sample type outside the list above
``multiple-pictures``   animated or with several pages
``too-large``           more bytes or pixels than :class:`ImageLimits` allows
``bad-aspect``          one side is more than ``max_aspect`` times the other
``wrong-channels``      its channels cannot become those of the picture format asked for
``truncated``           the file ends before its picture does
``unreadable``          damaged content, or the file cannot be opened
======================  ==============================================================
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
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

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data.headers import exif_orientation, png_bit_depth, sniff_format, webp_canvas
from vedette.data.pixels import decode_16_bit, decode_jpeg, decode_with_pillow, orient
from vedette.data.samples import StoredSamples, decode_samples, npy_stored, pillow_stored, tiff_stored
from vedette.errors import ImageError

if TYPE_CHECKING:
    from vedette.core.types import Image, SizeHW

IMAGE_KINDS: Final = (
    "missing",
    "empty",
    "not-an-image",
    "unsupported-format",
    "multiple-pictures",
    "too-large",
    "bad-aspect",
    "wrong-channels",
    "truncated",
    "unreadable",
)

IMAGE_FORMATS: Final = ("jpeg", "png", "webp", "bmp", "tiff", "npy")

_PLANAR: Final = (284, 2)

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
        max_decoded_bytes: size of a picture of another format than 8-bit RGB in memory; such files, often
            uncompressed, may be as large.
    """

    max_pixels: int = 50_000_000
    max_bytes: int = 64_000_000
    max_aspect: float = 200.0
    formats: tuple[str, ...] = IMAGE_FORMATS
    max_decoded_bytes: int = 400_000_000

    def file_bytes(self, picture_format: PictureFormat) -> int:
        """How large a file may be."""
        return self.max_bytes if picture_format == RGB8 else max(self.max_bytes, self.max_decoded_bytes)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the first bytes of a file say.

    Attributes:
        size_hw: (height, width) after the orientation is applied: the size of the decoded picture.
        format: one of :data:`IMAGE_FORMATS`.
        orientation: EXIF orientation that decoding applies, 1..8; 1 = stored upright.
        mode: sample layout in Pillow's names ("RGB", "L", "P", "CMYK", "I;16" ...), where Pillow reads the file.
        bit_depth: bits a sample, 8 or 16 (or 1, 2, 4 for PNG).
        channels: samples a pixel, as stored.
    """

    size_hw: SizeHW
    format: str
    orientation: int
    mode: str
    bit_depth: int
    channels: int


def probe_image(
    path: Path | str, *, limits: ImageLimits | None = None, picture_format: PictureFormat = RGB8
) -> ImageHeader:
    """Read and check the header of a picture file; nothing is decoded.

    Raises:
        ImageError: see the kinds above; damage behind the header is not seen here.
    """
    limits = limits or ImageLimits()
    _check_file_size(path, limits.file_bytes(picture_format))
    try:
        with Path(path).open("rb") as stream:
            header = _check_header(stream, path, limits, picture_format)[0]
    except OSError as error:
        raise _cannot_open(error, path) from None
    return header


def read_image(
    path: Path | str,
    *,
    limits: ImageLimits | None = None,
    reduce: int = 1,
    picture_format: PictureFormat = RGB8,
) -> Image:
    """Read a picture file.

    Args:
        path: the file; it is read once and never written.
        limits: what to refuse before decoding.
        reduce: 1, 2, 4 or 8: the size may be divided by this (rounded up) while decoding, which is faster.
            Only JPEG does so; other formats come in full size.
        picture_format: what to make of its samples.

    Returns:
        RGB uint8 [H, W, 3], or what the picture format says; upright, contiguous.

    Raises:
        ImageError: with ``where`` = path; see the kinds above.
    """
    limits = limits or ImageLimits()
    most = limits.file_bytes(picture_format)
    _check_file_size(path, most)
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(most + 1)
    except OSError as error:
        raise _cannot_open(error, path) from None
    return decode_image(raw, where=path, limits=limits, reduce=reduce, picture_format=picture_format)


def decode_image(
    raw: bytes,
    *,
    where: object = "",
    limits: ImageLimits | None = None,
    reduce: int = 1,
    picture_format: PictureFormat = RGB8,
) -> Image:
    """The same as :func:`read_image` for the bytes of a file; ``where`` names them in errors."""
    limits = limits or ImageLimits()
    if not raw:
        raise ImageError("the file is empty", where=where, kind="empty")
    if len(raw) > limits.file_bytes(picture_format):
        raise _too_many_bytes(len(raw), where, limits.file_bytes(picture_format))
    header, picture = _check_header(io.BytesIO(raw), where, limits, picture_format)
    if isinstance(picture, StoredSamples):
        return _fitted(raw, header, picture, where, reduce, picture_format)
    if header.format == "jpeg" and header.mode in ("RGB", "L"):
        pixels = decode_jpeg(raw, where, reduce)
    elif header.bit_depth == 16 and _lies_in_planes(picture):  # OpenCV mixes them up
        header, stored = _check_samples(io.BytesIO(raw), header.format, where, limits, picture_format)
        return _fitted(raw, header, stored, where, reduce, picture_format)
    elif header.bit_depth == 16 and header.mode not in ("I;16", "I;16B", "I;16L"):
        pixels = decode_16_bit(raw, picture, where)
    else:
        pixels = decode_with_pillow(picture, where)
    return np.ascontiguousarray(orient(pixels, header.orientation))


def _fitted(  # the parts of a call, passed on
    raw: bytes,
    header: ImageHeader,
    stored: StoredSamples,
    where: object,
    reduce: int,
    picture_format: PictureFormat,
) -> Image:
    """Decode samples as they are stored, turn them, and convert what differs from the picture format."""
    samples = orient(decode_samples(raw, stored, where, reduce), header.orientation)
    return np.ascontiguousarray(picture_format.fitted(samples, transparency=stored.transparency))


def _check_file_size(path: Path | str, most: int) -> None:
    try:
        size = Path(path).stat().st_size
    except OSError as error:
        raise _cannot_open(error, path) from None
    if size > most:
        raise _too_many_bytes(size, path, most)


def _too_many_bytes(size: int, where: object, most: int) -> ImageError:
    return ImageError(f"file of {size} bytes, more than {most}", where=where, kind="too-large")


def _cannot_open(error: OSError, path: object) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return ImageError("there is no such file", where=path, kind="missing")
    return ImageError(f"cannot be opened ({error.strerror or error})", where=path, kind="unreadable")


def _check_header(
    stream: BinaryIO, where: object, limits: ImageLimits, picture_format: PictureFormat
) -> tuple[ImageHeader, ImageFile.ImageFile | StoredSamples]:
    """Recognise the format, read size and orientation, refuse what the limits exclude; with what will decode it."""
    start = stream.read(64)
    stream.seek(0)
    image_format = _accepted_format(start, where, limits)
    if image_format == "npy" or picture_format != RGB8:
        return _check_samples(stream, image_format, where, limits, picture_format)
    return _check_with_pillow(stream, image_format, where, limits)


def _check_samples(
    stream: BinaryIO, image_format: str, where: object, limits: ImageLimits, picture_format: PictureFormat
) -> tuple[ImageHeader, StoredSamples]:
    """The header of a picture whose samples keep their depth; refuses what cannot become the picture format."""
    stored = None
    if image_format == "npy":
        stored = npy_stored(stream, where)
    elif image_format == "tiff":
        stored = tiff_stored(stream, where)
        stream.seek(0)
    if stored is None:
        header, picture = _check_with_pillow(stream, image_format, where, limits)
        stream.seek(0)
        stored = pillow_stored(picture, stream.read(64))
        header = replace(header, bit_depth=stored.bits, channels=stored.channels)
    else:
        _check_size(stored.size_hw, where, limits)
        size_hw = stored.size_hw if stored.orientation < 5 else stored.size_hw[::-1]
        header = ImageHeader(size_hw, image_format, stored.orientation, "", stored.bits, stored.channels)
    if not picture_format.fits(stored.channels, transparency=stored.transparency):
        raise ImageError(
            f"has {stored.channels} channels, which cannot become {picture_format.channels}",
            where=where,
            kind="wrong-channels",
            fix="convert the file, or correct 'channels' in the description of the data set",
        )
    if stored.decoded_bytes > limits.max_decoded_bytes:
        raise ImageError(
            f"takes {stored.decoded_bytes} bytes in memory, more than {limits.max_decoded_bytes}",
            where=where,
            kind="too-large",
        )
    return header, stored


def _check_with_pillow(
    stream: BinaryIO, image_format: str, where: object, limits: ImageLimits
) -> tuple[ImageHeader, ImageFile.ImageFile]:
    """The header of a picture that Pillow opens."""
    start = stream.read(64)
    stream.seek(0)
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
        channels=len(picture.getbands()),
    )
    return header, picture


def _lies_in_planes(picture: ImageFile.ImageFile) -> bool:
    """Whether a TIFF file of several channels holds them one after the other."""
    tag, planes = _PLANAR
    return (
        isinstance(picture, TiffImagePlugin.TiffImageFile)
        and picture.tag_v2.get(tag) == planes
        and len(picture.getbands()) > 1
    )


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
    if image_format not in limits.formats or image_format not in IMAGE_FORMATS:
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
            f"{width} x {height} pixels, more than {limits.max_pixels} in all",
            where=where,
            fix="scale or cut it; `vedette detect --tile` reads up to 500 megapixels",
            kind="too-large",
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
