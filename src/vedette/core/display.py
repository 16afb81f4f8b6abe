"""Pictures of any format as people see them: 8-bit RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from vedette.core.types import Image, RgbImage

DARKEST_PERCENT: Final = 1.0
BRIGHTEST_PERCENT: Final = 99.0

_ENOUGH_SAMPLES = 100_000


def display(image: Image) -> RgbImage:
    """A picture to look at; the network never sees it.

    Of three and more channels the first three are red, green and blue; of fewer the first is grey. 8-bit samples are
    shown as they are. Deeper ones are stretched, all channels alike, so that the darkest and the brightest hundredth
    become black and white: otherwise a picture that uses a part of its range would be all black.

    Args:
        image: uint8 or uint16 [H, W, c].

    Returns:
        RGB uint8 [H, W, 3]; the picture itself if it is that already.
    """
    shown = image if image.shape[2] == 3 else image[..., :3] if image.shape[2] > 3 else image[..., :1]
    if shown.dtype != np.uint8:
        shown = _stretched(shown)
    if shown.shape[2] == 1:
        shown = np.repeat(shown, 3, axis=2)
    seen: RgbImage = np.ascontiguousarray(shown, dtype=np.uint8)
    return seen


def _stretched(samples: Image) -> RgbImage:
    step = max(1, samples.size // _ENOUGH_SAMPLES)
    low, high = np.percentile(samples.reshape(-1)[::step], (DARKEST_PERCENT, BRIGHTEST_PERCENT))
    if high <= low:  # of one value: at its place in the full range
        low, high = 0.0, 65535.0
    table = (np.arange(65536, dtype=np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.take(np.clip(np.rint(table), 0, 255).astype(np.uint8), samples)
