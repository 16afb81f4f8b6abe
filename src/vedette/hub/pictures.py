"""What people give a hub model: paths, addresses, Pillow pictures, arrays, tensors; one or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import Image
from vedette.data.images import ImageLimits, decode_image, read_image
from vedette.errors import UsageError
from vedette.infer.addresses import shown
from vedette.infer.fetch import fetch

Picture: TypeAlias = "str | Path | Pillow.Image | NDArray[np.generic] | torch.Tensor"
"""One picture in any form that a hub model takes; arrays and tensors are RGB."""

_ADDRESSES = ("http://", "https://")
_MOST_CHANNELS_FIRST = 4


def read_pictures(
    given: Picture | Sequence[Picture], *, allow_urls: bool, picture_format: PictureFormat = RGB8
) -> list[tuple[Image, str]]:
    """Pictures as RGB uint8 [H, W, 3], each with its name (that of its file, or ``image<number>.jpg``).

    Args:
        given: one picture, or a list or tuple of them; it is not written to.
        allow_urls: whether http and https addresses may be fetched.
        picture_format: what to make of them instead. Arrays are taken as they are where they are of that format, else
            for 8-bit RGB, which is converted.

    Raises:
        ImageError: a file or address cannot be read.
        UsageError: something that is no picture, or an address that may not be fetched.
    """
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    if not several:
        raise UsageError("there is no picture", fix="give at least one")
    return [_read(picture, number, allow_urls, picture_format) for number, picture in enumerate(several)]


def _read(picture: object, number: int, allow_urls: bool, picture_format: PictureFormat) -> tuple[Image, str]:
    where, named = f"picture {number}", f"image{number}.jpg"
    if isinstance(picture, str) and picture.lower().startswith(_ADDRESSES):
        fetched = _fetched(picture, allow_urls, picture_format)
        return fetched, Path(picture.partition("?")[0]).name or named
    if isinstance(picture, (str, Path)):
        return read_image(picture, picture_format=picture_format), Path(picture).name
    if isinstance(picture, Pillow.Image):
        name = Path(str(getattr(picture, "filename", "") or named)).name
        return _fitted(_pillow_array(picture, picture_format != RGB8), where, picture_format), name
    if isinstance(picture, torch.Tensor):
        return _fitted(picture.detach().cpu().numpy(), where, picture_format), named
    if isinstance(picture, np.ndarray):
        return _fitted(picture, where, picture_format), named
    raise UsageError(
        f"a {type(picture).__name__} is no picture",
        where=where,
        fix="give a path, a Pillow picture, an array or tensor in RGB order, or a list of these",
    )


def _fitted(values: NDArray[np.generic], where: str, picture_format: PictureFormat) -> Image:
    """An array of the picture format, or what the published rules take for 8-bit RGB, converted."""
    samples = values[..., None] if values.ndim == 2 else values
    if picture_format != RGB8 and picture_format.holds(samples):
        own: Image = np.ascontiguousarray(samples)
        return own
    if not picture_format.fits(3):
        expected = f"{picture_format.dtype} [H, W, {picture_format.channels}]"
        raise UsageError(
            f"an array of {values.dtype} {list(values.shape)} is no picture of {picture_format}",
            where=where,
            fix=f"give {expected}",
        )
    return picture_format.fitted(rgb_image(values, where))


def rgb_image(values: NDArray[np.generic], where: str) -> Image:
    """An array as a picture, by the published rules (inference.md, section 8).

    Args:
        values: [H, W], [H, W, 1], [H, W, 3 or more: the first three count], or the same with the channels first,
            which is taken to be so where the first side is at most 4. 0..255, whole or not.
        where: its name in errors.

    Returns:
        RGB uint8 [H, W, 3].

    Raises:
        UsageError: another shape or type, or values outside of 0..255; also fractions of 0..1.
    """
    if values.ndim == 3 and values.shape[0] <= _MOST_CHANNELS_FIRST < values.shape[2]:
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] >= 3:
        values = values[..., :3]
    elif values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or values.shape[-1:] == (2,) or 0 in values.shape:
        raise UsageError(
            f"an array of shape {list(values.shape)} is no picture",
            where=where,
            fix="give [H, W], [H, W, 3], [3, H, W], or a list of these",
        )
    eight_bit = _eight_bit(values, where)
    if eight_bit.ndim == 2:
        eight_bit = np.repeat(eight_bit[..., None], 3, axis=2)
    return np.ascontiguousarray(eight_bit)


def _eight_bit(values: NDArray[np.generic], where: str) -> Image:
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    if values.dtype.kind not in "iuf":
        raise UsageError(f"an array of {values.dtype} is no picture", where=where, fix="give uint8 values")
    numbers = values.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if not (low >= 0 and high <= 255):
        raise UsageError(
            f"values from {low:g} to {high:g}", where=where, fix="scale them to 0..255 and convert to uint8"
        )
    if values.dtype.kind == "f" and 0 < high <= 1:
        raise UsageError(
            "values from 0 to 1 in a single picture",
            where=where,
            fix="multiply by 255, or give a batch [B, 3, H, W] as one tensor, which the network takes as it is",
        )
    return np.rint(numbers).astype(np.uint8)


def _pillow_array(picture: Pillow.Image, deep: bool) -> NDArray[np.generic]:
    """Upright; palettes, CMYK and the like as RGB; 16-bit grey too, unless it is to stay ``deep``."""
    upright = ImageOps.exif_transpose(picture)
    kept = upright.mode in ("L", "RGB", "RGBA") or (deep and upright.mode.startswith("I;16"))
    return np.asarray(upright if kept else upright.convert("RGB"))


def _fetched(address: str, allow_urls: bool, picture_format: PictureFormat) -> Image:
    if not allow_urls:
        raise UsageError(
            "nothing is fetched from the network unless you say so",
            where=shown(address),
            fix="download the picture first, or set model.allow_urls = True",
        )
    raw = fetch(address, ImageLimits().file_bytes(picture_format))
    return decode_image(raw, where=shown(address), picture_format=picture_format)
