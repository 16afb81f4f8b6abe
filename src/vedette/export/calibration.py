"""Frames on which the ranges of int8 are measured: pictures of the training split, letterboxed as for detection."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vedette.core.letterbox import LetterboxPolicy
from vedette.data.images import read_image
from vedette.data.index import SplitIndex
from vedette.errors import DataError, ImageError


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Calibration frames.

    Attributes:
        frames: uint8 [n, H, W, 3].
        sha256: of the shape and the values.
    """

    frames: NDArray[np.uint8]
    sha256: str


def calibration_set(index: SplitIndex, letterbox: LetterboxPolicy, count: int) -> CalibrationSet:
    """Frames of ``count`` pictures spread evenly over a split; pictures that cannot be read are passed over.

    Args:
        index: of the training split, never of pictures that the file is measured on.
        letterbox: of the file.
        count: at most so many.

    Raises:
        DataError: not one picture can be read.
    """
    numbers = np.unique(np.linspace(0, len(index) - 1, count).round().astype(np.int64))
    frames = []
    # A letterbox that makes frames of many sizes is calibrated on one, so that they can be stacked.
    square = replace(letterbox, shape="square") if letterbox.shape == "minimal" else letterbox
    for number in numbers.tolist():
        try:
            picture = read_image(index.image_path(number))
        except ImageError:
            continue
        frames.append(square.place((picture.shape[0], picture.shape[1])).apply(picture))
    if not frames:
        raise DataError("no picture of the split can be read", where=index.root, fix="check the data set")
    stacked: NDArray[np.uint8] = np.stack(frames).astype(np.uint8, copy=False)
    digest = hashlib.sha256(repr(stacked.shape).encode("ascii"))
    digest.update(stacked.data)
    return CalibrationSet(stacked, digest.hexdigest())
