"""What the pictures of a data set or model are made of: channels, bits of a sample, the values that count.

8-bit RGB is the usual case; everything that knows no better means it. Image stay as their file holds them until the
network takes them: (value - low) / (high - low), cut to 0..1, which for 8-bit RGB is value / 255.

A picture of another kind is converted by one rule (:meth:`PictureFormat.fitted`), or refused:

======================== ============================================================================================
channels                 as many as the format has: as they are. Grey to three channels: repeated. Colour to one:
                         0.299 red + 0.587 green + 0.114 blue. Where the file says that its last channel is
                         transparency and the format has no place for it, it is laid on white first. Nothing else fits.
bits                     as many as the format has: as they are. Else the full scale of the file (0..255 or 0..65535)
                         becomes the range of values of the format, rounded to nearest.
======================== ============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.core.types import Image
from vedette.errors import ModelError, UsageError

if TYPE_CHECKING:
    from vedette.core.device import Precision

MAX_PICTURE_CHANNELS: Final = 256
BITS: Final = (8, 16)

_KEYS = ("channels", "bits", "value_range")


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """Channels and samples of pictures.

    Attributes:
        channels: 1 is grey; 3 is red, green, blue in this order; others mean what the data set says.
        bits: of a sample as it is stored, 8 or 16.
        value_range: the values that become 0 and 1 for the network; what lies outside is cut off.
            (0, 0) stands for all that the bits hold.

    Raises:
        ModelError: a value is of the wrong type or out of range; names it.
    """

    channels: int = 3
    bits: int = 8
    value_range: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if type(self.channels) is not int or not 1 <= self.channels <= MAX_PICTURE_CHANNELS:
            raise _wrong("channels", f"a whole number from 1 to {MAX_PICTURE_CHANNELS}", self.channels)
        if type(self.bits) is not int or self.bits not in BITS:
            raise _wrong("bits", "8 or 16", self.bits)
        limits = self.value_range
        if (
            not isinstance(limits, tuple)
            or len(limits) != 2
            or any(type(value) is not int for value in limits)
        ):
            raise _wrong("value_range", "two whole numbers, lowest and highest", limits)
        if limits == (0, 0):
            object.__setattr__(self, "value_range", (0, self.largest))
        elif not 0 <= limits[0] < limits[1] <= self.largest:
            raise _wrong("value_range", f"lowest < highest, from 0 to {self.largest}", limits)

    @property
    def largest(self) -> int:
        """The largest value that the bits hold."""
        return int(2**self.bits - 1)

    @property
    def dtype(self) -> np.dtype[np.uint8 | np.uint16]:
        """Type of a sample in memory."""
        return np.dtype(np.uint8) if self.bits == 8 else np.dtype(np.uint16)

    @property
    def bytes_per_pixel(self) -> int:
        """Of a picture in memory."""
        return self.channels * self.bits // 8

    @property
    def takes_all_values(self) -> bool:
        """Whether the range is all that the bits hold."""
        return self.value_range == (0, self.largest)

    def grey(self, level: int) -> int:
        """The value that is as bright as an 8-bit grey, 0..255: of padding and background."""
        low, high = self.value_range
        return low + (level * (high - low) + 127) // 255

    def __str__(self) -> str:
        """In words: "8-bit RGB", "1 channel of 16 bits, values 0 to 4095"."""
        if self == RGB8:
            return "8-bit RGB"
        low, high = self.value_range
        limits = "" if self.takes_all_values else f", values {low} to {high}"
        return f"{self.channels} channel{'s' if self.channels > 1 else ''} of {self.bits} bits{limits}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :meth:`from_dict` reads it."""
        return {"channels": self.channels, "bits": self.bits, "value_range": list(self.value_range)}

    @classmethod
    def from_dict(cls, values: object) -> PictureFormat:
        """Read what :meth:`to_dict` wrote; anything else is refused. Raises ModelError."""
        if not isinstance(values, Mapping) or set(values) != set(_KEYS):
            raise _wrong("", f"a mapping of {', '.join(_KEYS)}", values)
        limits = values["value_range"]
        if limits == [0, 0]:
            raise _wrong("value_range", "lowest < highest", limits)
        return cls(values["channels"], values["bits"], tuple(limits) if isinstance(limits, list) else limits)

    def precision(self, asked: Precision) -> Precision:
        """Arithmetic of a network for such pictures.

        "auto" becomes float32 for 16-bit samples: bf16 keeps 8 significant bits of them and fp16 keeps 11, so what is
        coded in the others would be lost in the first layer. Whoever asks for bf16 or fp16 gets it.
        """
        return "float32" if asked == "auto" and self.bits > BITS[0] else asked

    def require_rgb8(self, purpose: str, *, where: object = "") -> None:
        """Refuse any other format. ``purpose`` begins the sentence ("export"). Raises UsageError."""
        if self != RGB8:
            raise UsageError(
                f"{purpose} takes models of 8-bit RGB pictures; this one is for pictures of {self}",
                where=where,
                fix="use the checkpoint itself",
            )

    def holds(self, image: NDArray[Any]) -> bool:
        """Whether an array [H, W, channels] has the channels and type of the format."""
        return image.ndim == 3 and image.shape[2] == self.channels and image.dtype == self.dtype

    def fits(self, channels: int, *, transparency: bool = False) -> bool:
        """Whether a picture of so many channels can be converted; ``transparency``: the last one is."""
        if channels == self.channels:
            return True
        return self.channels in (1, 3) and channels - transparency in (1, 3)

    def fitted(self, samples: Image, *, transparency: bool = False) -> Image:
        """A picture that :meth:`fits`, converted by the rule above; the same array if there is nothing to convert.

        Args:
            samples: uint8 or uint16 [H, W, c].
            transparency: the last channel is.
        """
        if transparency and samples.shape[2] != self.channels:
            samples = _on_white(samples)
        if samples.shape[2] != self.channels:
            samples = _repeated(samples) if self.channels == 3 else _luminance(samples)
        return samples if samples.dtype == self.dtype else self._rescaled(samples)

    def _rescaled(self, samples: Image) -> Image:
        """Image of the other depth."""
        low, high = self.value_range
        full = 255 if samples.dtype == np.uint8 else 65535
        table = low + (np.arange(full + 1, dtype=np.int64) * (high - low) + full // 2) // full
        rescaled: Image = np.take(table.astype(self.dtype), samples)
        return rescaled


RGB8: Final = PictureFormat()
"""8-bit RGB: what pictures are unless something says otherwise."""


def _on_white(samples: Image) -> Image:
    """Composite on white, rounded to nearest; the last channel goes."""
    full = 255 if samples.dtype == np.uint8 else 65535
    opacity = samples[..., -1:].astype(np.uint32)
    # At most 65535 * 65535 + 32767, which just fits.
    mixed = samples[..., :-1] * opacity + np.uint32(full) * (np.uint32(full) - opacity)
    white: Image = ((mixed + np.uint32(full // 2)) // np.uint32(full)).astype(samples.dtype)
    return white


def _repeated(samples: Image) -> Image:
    return np.repeat(samples, 3, axis=2)


def _luminance(samples: Image) -> Image:
    grey: Image = cv2.cvtColor(np.ascontiguousarray(samples), cv2.COLOR_RGB2GRAY)[..., None]  # type: ignore[assignment]
    return grey


def _wrong(name: str, expected: str, value: object) -> ModelError:
    place = f"picture_format.{name}" if name else "picture_format"
    return ModelError(f"must be {expected}", where=place, fix=f"got {value!r:.80}")
