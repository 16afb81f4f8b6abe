"""From source items to results, one by one: pictures are read and letterboxed in threads ahead of the network."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from vedette.core.types import Detections, Image
from vedette.data.images import ImageLimits
from vedette.errors import ImageError, VedetteError
from vedette.infer.predictor import Predictor, PreparedPicture
from vedette.infer.sources import SourceItem

InT = TypeVar("InT")
OutT = TypeVar("OutT")


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What became of one picture: detections, or the error that says why there are none.

    Attributes:
        item: the picture's place.
        detections: what was found; None if the picture could not be read.
        error: why; None if it could.
        image: the picture, RGB uint8 [H, W, 3], where it was asked for.
    """

    item: SourceItem
    detections: Detections | None = None
    error: VedetteError | None = None
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How pictures flow.

    Attributes:
        batch_size: pictures a batch.
        workers: threads that read pictures.
        keep_images: put the pictures into the results, for drawing.
        limits: which pictures are refused before decoding.
    """

    batch_size: int = 8
    workers: int = 1
    keep_images: bool = False
    limits: ImageLimits | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    item: SourceItem
    prepared: PreparedPicture | None = None
    image: Image | None = None
    error: VedetteError | None = None


def stream(
    items: Iterable[SourceItem], predictor: Predictor, settings: StreamSettings | None = None
) -> Iterator[PictureResult]:
    """One result a picture, in the order of ``items``. Memory does not grow with their number.

    A picture that cannot be read gives a result with its error; the others go on.

    Raises:
        ModelError: the network's output is not a number.
    """
    chosen = settings or StreamSettings()

    def load(item: SourceItem) -> _Loaded:
        return _load(item, predictor, chosen)

    waiting: list[_Loaded] = []
    readable = 0
    for loaded in read_ahead(items, load, workers=chosen.workers, ahead=2 * chosen.batch_size):
        waiting.append(loaded)
        readable += loaded.prepared is not None
        if readable == chosen.batch_size or len(waiting) == 4 * chosen.batch_size:
            yield from _finish(waiting, predictor)
            waiting, readable = [], 0
    yield from _finish(waiting, predictor)


def read_ahead(
    items: Iterable[InT], load: Callable[[InT], OutT], *, workers: int, ahead: int
) -> Iterator[OutT]:
    """``load`` of every item, in order, done by threads up to ``ahead`` items early."""
    pending: deque[Future[OutT]] = deque()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="vedette-read")
    try:
        for item in items:
            pending.append(pool.submit(load, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _load(item: SourceItem, predictor: Predictor, settings: StreamSettings) -> _Loaded:
    started = time.perf_counter()
    try:
        image = item.load(settings.limits)
        decode = (time.perf_counter() - started) * 1000.0
        prepared = predictor.prepare(image, path=item.path, decode_milliseconds=decode)
    except VedetteError as error:
        return _Loaded(item, error=error)
    except (OSError, MemoryError) as error:
        reason = f"cannot be read ({error or type(error).__name__})"
        return _Loaded(item, error=ImageError(reason, where=item.path))
    return _Loaded(item, prepared, image if settings.keep_images else None)


def _finish(waiting: list[_Loaded], predictor: Predictor) -> Iterator[PictureResult]:
    found = iter(predictor.detect([entry.prepared for entry in waiting if entry.prepared is not None]))
    for entry in waiting:
        if entry.prepared is None:
            yield PictureResult(entry.item, error=entry.error)
        else:
            yield PictureResult(entry.item, detections=next(found), image=entry.image)
