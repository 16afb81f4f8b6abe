"""Decoded pictures of a split, resized to fit the frame; optionally kept in shared memory or on disk.

What a picture looks like does not depend on whether it comes from its file or from a cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.resample import resize as resample
from vedette.data.images import ImageLimits, read_image
from vedette.data.picture_cache import DiskCache, PictureCache, PictureShapes, RamCache, fits_easily
from vedette.data.worker_marks import WorkerMarks
from vedette.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from vedette.core.types import Image, IntArray, SizeHW
    from vedette.data.index import SplitIndex

CacheMode = Literal["auto", "none", "ram", "disk"]
Interpolation = Literal["bilinear", "area"]


class PictureStore:
    """Gives pictures by number. Can be handed to worker processes; they then share one cache.

    A picture is scaled so that it just fits ``size_hw``: one side becomes equal, the other is rounded down (for a
    square: the long side, data.md section 6).

    Args:
        index: the split.
        size_hw: the frame that pictures are made for.
        cache: where decoded pictures are kept between epochs. "auto" is "ram" where they take at most a quarter
            of the free memory, else "none". "ram" is shared memory that all workers fill and
            read; "disk" is a file in the cache folder that later runs use again.
        cache_dir: folder for ``cache="disk"``.
        interpolation: "bilinear" for training; "area" shrinks without aliasing, for evaluation.
        limits: what to refuse before decoding.
        picture_format: what the pictures are made of.
        reduced_decoding: let the JPEG decoder halve a picture while it is still larger than needed. Faster for
            large photographs, with slightly different pixels.

    Raises:
        DataError: the cache does not fit into memory, or its folder is not given.
        WriteError: the cache file cannot be made.
    """

    def __init__(  # noqa: PLR0913  # keyword-only settings, each with a default
        self,
        index: SplitIndex,
        size_hw: SizeHW,
        *,
        cache: CacheMode = "none",
        cache_dir: Path | None = None,
        interpolation: Interpolation = "bilinear",
        limits: ImageLimits | None = None,
        reduced_decoding: bool = False,
        picture_format: PictureFormat = RGB8,
    ) -> None:
        self.index = index
        self.size_hw = size_hw
        self.marks = WorkerMarks()
        self._interpolation: Interpolation = interpolation
        self._limits = limits or ImageLimits()
        self._reduced_decoding = reduced_decoding
        self._picture_format = picture_format
        self._resized_hw = fitted_sizes(index.sizes_hw, size_hw)
        self._cache: PictureCache | None = None
        shapes = PictureShapes(self._resized_hw, picture_format)
        if cache == "ram" or (cache == "auto" and fits_easily(shapes)):
            self._cache = RamCache(shapes)
        elif cache == "disk":
            rules = f"{index.root}|{index.split}|{size_hw}|{interpolation}|{reduced_decoding}"
            self._cache = DiskCache(
                shapes, index.image_path, cache_dir, place=rules, content=index.content_hash
            )

    def __len__(self) -> int:
        return len(self.index)

    def resized_hw(self, number: int) -> SizeHW:
        """Size of :meth:`picture`, known without decoding."""
        height, width = self._resized_hw[number].tolist()
        return height, width

    def picture(self, number: int) -> Image:
        """A picture of :meth:`resized_hw` and of the picture format; not to be written to, it may be shared.

        Raises:
            ImageError: the file cannot be read, or has another size than when the index was made.
        """
        self.marks.mark(number)
        if self._cache is None:
            return self._load(number)
        found = self._cache.get(number)
        if found is None:
            found = self._load(number)
            self._cache.put(number, found)
        return found

    def _load(self, number: int) -> Image:
        path = self.index.image_path(number)
        height, width = self.index.sizes_hw[number].tolist()
        resized = self.resized_hw(number)
        reduce = _reduction((height, width), resized) if self._reduced_decoding else 1
        image = read_image(path, limits=self._limits, reduce=reduce, picture_format=self._picture_format)
        expected = ((height, width), (-(-height // reduce), -(-width // reduce)))
        if image.shape[:2] not in expected:
            raise ImageError(
                f"is {image.shape[1]} x {image.shape[0]} pixels, but was {width} x {height} when it was indexed",
                where=path,
                fix="start again, so that the data set is indexed anew",
            )
        return resize(image, resized, self._interpolation)


def fitted_sizes(sizes_hw: NDArray[np.int32], size_hw: SizeHW) -> IntArray:
    """Sizes after scaling each of ``sizes_hw`` [n, 2] to just fit ``size_hw``, rounded down: int64 [n, 2].

    Whole numbers throughout, so that the fitted side is exact; no side becomes 0.
    """
    height, width = sizes_hw.astype(np.int64).T
    frame_h, frame_w = size_hw
    by_height = frame_h * width <= frame_w * height
    fitted_h = np.where(by_height, frame_h, height * frame_w // width)
    fitted_w = np.where(by_height, width * frame_h // height, frame_w)
    fitted: IntArray = np.maximum(np.stack([fitted_h, fitted_w], axis=1), 1)
    return fitted


def resize(image: Image, size_hw: SizeHW, interpolation: Interpolation) -> Image:
    """Scale to ``size_hw``; "area" applies to shrinking only, growing is always bilinear."""
    if image.shape[:2] == size_hw:
        return image
    shrinks = size_hw[0] * size_hw[1] < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if interpolation == "area" and shrinks else cv2.INTER_LINEAR
    return resample(image, size_hw, method)


def _reduction(source_hw: SizeHW, resized_hw: SizeHW) -> int:
    """The largest divisor that the JPEG decoder offers and that does not go below the wanted size."""
    fitting = (
        divisor
        for divisor in (8, 4, 2)
        if source_hw[0] >= divisor * resized_hw[0] and source_hw[1] >= divisor * resized_hw[1]
    )
    return next(fitting, 1)
