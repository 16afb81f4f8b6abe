"""Read and prepare the pictures of the next batch while the network works on the present one."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.core.types import Image, SizeHW
from vedette.data.images import read_image
from vedette.errors import ImageError
from vedette.evaluate.protocol import PlannedBatch

if TYPE_CHECKING:
    from vedette.data.index import SplitIndex

PreparedT = TypeVar("PreparedT")

Prepare = Callable[[Image, SizeHW, str, float], PreparedT]
"""Makes of a picture what the network takes, from: picture, size of the frames of its batch, path,
milliseconds that decoding took."""


@dataclass(frozen=True, slots=True)
class FailedImage:
    """A picture that could not be used: where, what kind of failure (``ImageError.kind``), and why."""

    path: str
    kind: str
    reason: str


@dataclass(frozen=True)
class ReadBatch(Generic[PreparedT]):
    """What could be read of a batch, and what could not.

    Attributes:
        positions: places in the split of the pictures that could be read.
        pictures: what was made of them, one each.
        failed: the others.
    """

    positions: list[int]
    pictures: list[PreparedT]
    failed: list[FailedImage]


def read_ahead(
    index: SplitIndex,
    batches: Iterable[PlannedBatch],
    prepare: Prepare[PreparedT],
    threads: int = 1,
    picture_format: PictureFormat = RGB8,
) -> Iterator[ReadBatch[PreparedT]]:
    """Yield the batches in order; ``threads`` threads are one batch ahead. Pictures are read as the model takes them.

    Pictures that cannot be read, or whose size is not that of the index, end up in ``failed``.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vedette-read")
    waiting: deque[list[tuple[int, Future[PreparedT | FailedImage]]]] = deque()
    try:
        for batch in batches:
            waiting.append(
                [
                    (position, pool.submit(_read, index, position, batch.frame_hw, prepare, picture_format))
                    for position in batch.positions.tolist()
                ]
            )
            if len(waiting) > 1:
                yield _collect(waiting.popleft())
        while waiting:
            yield _collect(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _collect(jobs: list[tuple[int, Future[PreparedT | FailedImage]]]) -> ReadBatch[PreparedT]:
    batch: ReadBatch[PreparedT] = ReadBatch([], [], [])
    for position, job in jobs:
        outcome = job.result()
        if isinstance(outcome, FailedImage):
            batch.failed.append(outcome)
        else:
            batch.positions.append(position)
            batch.pictures.append(outcome)
    return batch


def _read(
    index: SplitIndex,
    position: int,
    frame_hw: SizeHW,
    prepare: Prepare[PreparedT],
    picture_format: PictureFormat,
) -> PreparedT | FailedImage:
    path = index.image_path(position)
    height, width = (int(side) for side in index.sizes_hw[position])
    started = time.perf_counter()
    try:
        image = read_image(path, picture_format=picture_format)
    except ImageError as error:
        return FailedImage(str(path), error.kind, error.what)
    milliseconds = 1000 * (time.perf_counter() - started)
    if image.shape[:2] != (height, width):
        found = f"{image.shape[0]}x{image.shape[1]}"
        return FailedImage(str(path), "changed", f"is {found} pixels, the index says {height}x{width}")
    return prepare(image, frame_hw, str(path), milliseconds)
