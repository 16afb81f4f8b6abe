"""Hue, saturation and brightness jitter. Rules: data.md, section 10.

Of pictures that are not 8-bit RGB, those of three channels get the same jitter in floating point. Others have no hue
and no saturation: all their channels are multiplied by the one factor of brightness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.augment.buffers import Buffers
from vedette.augment.geometric import Corners

if TYPE_CHECKING:
    from vedette.config.hyperparameters import Hyperparameters
    from vedette.core.picture_format import PictureFormat
    from vedette.core.types import Image, RgbImage

HSV_DRAWS: Final = 3
GAIN_STEPS: Final = 1024
"""Gains are multiples of 1/1024, finer than 8-bit samples resolve, so that fixed-point arithmetic is exact."""

HUES: Final = 180
# Turns rounding to nearest into rounding down, for products that are multiples of 1/1024.
_ROUND_DOWN: Final = -0.5 + 0.5 / GAIN_STEPS


@dataclass(frozen=True, slots=True)
class HsvChoice:
    """Factors on hue, saturation and brightness; 1 leaves them as they are."""

    hue: float = 1.0
    saturation: float = 1.0
    value: float = 1.0

    @property
    def changes_nothing(self) -> bool:
        """Whether all factors are 1; the picture then need not go through HSV, which loses a little."""
        return self.hue == self.saturation == self.value == 1.0


def choose_hsv(uniform: NDArray[np.float64], hyperparameters: Hyperparameters) -> HsvChoice:
    """Turn ``HSV_DRAWS`` numbers in [0, 1) into factors 1 +- gain."""
    gains = (hyperparameters.hsv_h, hyperparameters.hsv_s, hyperparameters.hsv_v)
    factors = (
        round((1.0 + (2.0 * float(draw) - 1.0) * gain) * GAIN_STEPS) / GAIN_STEPS
        for draw, gain in zip(uniform, gains, strict=True)
    )
    return HsvChoice(*factors)


def hsv_tables(choice: HsvChoice) -> NDArray[np.uint8]:
    """What becomes of each 8-bit hue, saturation and value: uint8 [3, 256]."""
    values = np.arange(256, dtype=np.float64)
    return np.stack(
        [
            (values * choice.hue) % HUES,
            np.clip(values * choice.saturation, 0, 255),
            np.clip(values * choice.value, 0, 255),
        ]
    ).astype(np.uint8)


def plain_jitter_hsv(image: RgbImage, choice: HsvChoice) -> RgbImage:
    """Colour jitter by tables, as published.

    Args:
        image: RGB or RGBX uint8 [H, W, 3 or 4].
        choice: the factors.

    Returns:
        RGB uint8 [H, W, 3], a new array.
    """
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv = cv2.LUT(hsv, np.ascontiguousarray(hsv_tables(choice).T)[None])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)  # type: ignore[return-value]  # uint8 in, uint8 out


def jitter_hsv(
    image: RgbImage,
    choice: HsvChoice,
    *,
    windows: Sequence[Corners] | None = None,
    background: int = 0,
    buffers: Buffers | None = None,
) -> RgbImage:
    """The same as :func:`plain_jitter_hsv`, faster; differs by at most one level, where hue passes the full turn.

    Multiplying three channels in fixed point takes a quarter of the time of looking them up. It is exact for
    multiples of 1/1024. Hues of 180 and more are left to the conversion back, which takes them as angles.

    Args:
        image: RGB or RGBX uint8 [H, W, 3 or 4].
        choice: the factors.
        windows: rectangles outside of which the whole image is of the grey ``background``; None: the whole image.
        background: see ``windows``.
        buffers: scratch memory.

    Returns:
        RGB uint8 [H, W, 3], a new array.
    """
    fits = choice.hue * (HUES - 1) < 256 and choice.hue * GAIN_STEPS == round(choice.hue * GAIN_STEPS)
    if not fits:
        return plain_jitter_hsv(image, choice)
    buffers = buffers or Buffers()
    height, width = image.shape[:2]
    output = np.empty((height, width, 3), dtype=np.uint8)
    if windows is None:
        windows = [(0, 0, width, height)]
    else:
        output.fill(min(int(background * choice.value), 255))  # grey has no hue and no saturation
    factors = np.array(
        [
            (choice.hue, 0, 0, _ROUND_DOWN),
            (0, choice.saturation, 0, _ROUND_DOWN),
            (0, 0, choice.value, _ROUND_DOWN),
        ]
    )
    for x1, y1, x2, y2 in windows:
        hsv = buffers.take("hsv", (y2 - y1, x2 - x1, 3), np.dtype(np.uint8))
        cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_RGB2HSV, dst=hsv)
        cv2.transform(hsv, factors, dst=hsv)
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=output[y1:y2, x1:x2])
    return output


def jitter_samples(image: Image, choice: HsvChoice, picture_format: PictureFormat) -> Image:
    """Jitter of a picture that is not 8-bit RGB, in its range of values.

    Args:
        image: [H, W, channels] of the picture format.
        choice: the factors; hue and saturation have a meaning for three channels only.
        picture_format: its channels, depth and range.

    Returns:
        The same shape and type, a new array. What is multiplied out of the range is cut off.
    """
    if choice.changes_nothing:
        return np.array(image)
    if picture_format.channels == 3:
        return _jitter_colours(image, choice, picture_format)
    low, high = picture_format.value_range
    table = (np.arange(picture_format.largest + 1, dtype=np.float64) - low) * choice.value + low
    levels = np.clip(table, low, high).astype(picture_format.dtype)
    brighter: Image = np.take(levels, image)
    return brighter


def _jitter_colours(image: Image, choice: HsvChoice, picture_format: PictureFormat) -> Image:
    """HSV jitter in float32, which holds 16-bit samples exactly; OpenCV's hue is in degrees then."""
    low, high = picture_format.value_range
    colours = np.clip((image.astype(np.float32) - low) / np.float32(high - low), 0, 1)
    hsv = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)
    hsv *= np.array([choice.hue, choice.saturation, choice.value], dtype=np.float32)
    hsv[..., 0] %= 360
    np.clip(hsv[..., 1:], 0, 1, out=hsv[..., 1:])
    rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    jittered: Image = np.rint(np.clip(rgb, 0, 1) * (high - low) + low).astype(picture_format.dtype)
    return jittered
