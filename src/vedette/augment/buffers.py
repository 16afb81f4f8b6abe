"""Arrays that are used again for every sample, because fresh memory costs as much as the work done in it."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

AnySample = TypeVar("AnySample", bound=np.generic)


class Buffers:
    """Named blocks of memory that grow as needed. What was taken is overwritten when its name is taken again.

    Not for several threads at once. Another process gets an empty one.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[np.uint8]] = {}

    def __reduce__(self) -> tuple[type[Buffers], tuple[()]]:
        return (Buffers, ())

    def take(self, name: str, shape: tuple[int, ...], dtype: np.dtype[AnySample]) -> NDArray[AnySample]:
        """A C-contiguous array of ``shape``, with any content."""
        size = int(np.prod(shape)) * dtype.itemsize
        array = self._arrays.get(name)
        if array is None or array.size < size:
            array = self._arrays[name] = np.empty(size, dtype=np.uint8)
        return array[:size].view(dtype).reshape(shape)
