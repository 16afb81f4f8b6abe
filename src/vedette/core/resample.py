"""Pictures of any number of channels at another size.

OpenCV computes pictures of 1, 3 and 4 channels by the same arithmetic; with 2 or more than 4 it takes other ways, or
none. Such pictures are cut into groups, so that what becomes of a channel does not depend on those beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from vedette.core.types import Image, SizeHW

_WHOLE = (1, 3, 4)


def channel_groups(channels: int) -> list[slice]:
    """Neighbouring channels in groups of 4, 3 or 1; a single group where that many channels are one."""
    sizes = [4] * (channels // 4)
    rest = channels % 4
    if rest == 2 and sizes:
        sizes[-1:] = [3, 3]
    else:
        sizes += [1, 1] if rest == 2 else [rest] * (rest > 0)
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def resize(
    image: Image, size_hw: SizeHW, interpolation: int = cv2.INTER_LINEAR, out: Image | None = None
) -> Image:
    """Scale a picture.

    Args:
        image: uint8 or uint16 [H, W, c].
        size_hw: of the result.
        interpolation: cv2.INTER_LINEAR or cv2.INTER_AREA.
        out: where to write, [h, w, c], may be part of a larger array.

    Returns:
        [h, w, c]; ``out`` if it was given.
    """
    channels = image.shape[2]
    target = np.empty((*size_hw, channels), dtype=image.dtype) if out is None else out
    size_wh = size_hw[1], size_hw[0]
    if channels in _WHOLE:
        cv2.resize(image, size_wh, dst=target, interpolation=interpolation)
        return target
    for group in channel_groups(channels):
        part = np.ascontiguousarray(image[..., group])
        resized = cv2.resize(part, size_wh, interpolation=interpolation)
        target[..., group] = resized.reshape(*size_hw, -1)
    return target
