"""From sources to results, one by one, for ever if need be: nothing is kept of what was handed out.

Pictures are read and letterboxed in threads ahead of the network, videos in one thread each, streams each in its own.
Batches of pictures and videos may go through the network several at a time; those of streams, which are to be answered
at once, go one after the other.
All results pass through :func:`stream`; those of one source come in the order of its pictures.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from vedette.core.types import Detections, Image
from vedette.data.images import ImageLimits
from vedette.errors import DataError, ImageError, VedetteError
from vedette.infer.sources import Source, SourceItem
from vedette.infer.video.live import LiveSettings, LiveStreams, SourceEvent
from vedette.infer.video.reader import (
    Decoder,
    VideoFrame,
    VideoItem,
    VideoReader,
    open_video,
    pyav_is_installed,
)

if TYPE_CHECKING:
    from vedette.infer.predictor import PreparedPicture
    from vedette.infer.tiling import AnyPredictor
    from vedette.infer.tracking.trails import Trail

InT = TypeVar("InT")
OutT = TypeVar("OutT")

_log = logging.getLogger(__name__)

_SLICE_S = 0.2
"""Waiting is cut into slices, so that Ctrl-C is heard on every system."""
_FAREWELL_S = 1.0


@dataclass(frozen=True, slots=True)
class PictureResult:
    """What became of one picture: detections, or the error that says why there are none; or an event of a source.

    Attributes:
        item: the picture's place; of an event, its source.
        detections: what was found; None if the picture could not be read.
        error: why; None if it could.
        image: the picture as it was read, where it was asked for.
        event: something happened to a video or stream: its begin, a gap, its end.
        trails: where tracked objects came from, if that is to be drawn.
    """

    item: SourceItem
    detections: Detections | None = None
    error: VedetteError | None = None
    image: Image | None = None
    event: SourceEvent | None = None
    trails: tuple[Trail, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How pictures flow.

    Attributes:
        batch_size: pictures a batch.
        workers: threads that read pictures.
        lanes: batches of pictures and videos that are in the network at once. What is found, and in which order it
            comes, does not depend on it.
        keep_images: put the pictures into the results, for drawing.
        limits: which pictures are refused before decoding.
        live: how streams are read; its stride is that of videos too.
        decoder: what reads videos and addresses; None: PyAV where it is installed, else OpenCV.
    """

    batch_size: int = 8
    workers: int = 1
    lanes: int = 1
    keep_images: bool = False
    limits: ImageLimits | None = None
    live: LiveSettings = field(default_factory=LiveSettings)
    decoder: Decoder | None = None

    @property
    def ahead(self) -> int:
        """How many pictures are read ahead of the network, so that it does not wait for one."""
        return 2 * self.batch_size * _callers(self.lanes)


@dataclass(frozen=True, slots=True)
class _Loaded:
    item: SourceItem
    prepared: PreparedPicture | None = None
    image: Image | None = None
    error: VedetteError | None = None
    event: SourceEvent | None = None


def stream(
    source: Source | Iterable[SourceItem], predictor: AnyPredictor, settings: StreamSettings | None = None
) -> Generator[PictureResult, None, None]:
    """One result a picture: pictures in their order, then videos, then streams as they come, until all have ended.

    Memory does not grow with their number. A picture that cannot be read gives a result with its error; the others
    go on. Events (see :class:`~vedette.infer.video.live.SourceEvent`) are results too, in their place. Closing the
    generator, or leaving a loop over it, stops all reading.

    Raises:
        ModelError: the network's output is not a number.
    """
    chosen = settings or StreamSettings()
    items, moving = (source.items, source) if isinstance(source, Source) else (source, Source())
    yield from _in_batches(_pictures(items, predictor, chosen), predictor, chosen)
    _say_whose_times(moving, chosen)
    for video in moving.videos:
        with contextlib.closing(run_ahead(_video(video, predictor, chosen), chosen.ahead)) as loaded:
            yield from _in_batches(loaded, predictor, chosen)
    if moving.streams:
        yield from _live(moving.streams, predictor, chosen)


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


def through_lanes(batches: Iterable[InT], work: Callable[[InT], OutT], lanes: int) -> Iterator[OutT]:
    """``work``, which calls a network, of every batch, in order. With one lane, who takes the values does it."""
    if lanes == 1:
        return map(work, batches)
    # Twice as many batches wait, so that others go on while the one at their head is slow.
    return read_ahead(batches, work, workers=_callers(lanes), ahead=2 * _callers(lanes))


def _callers(lanes: int) -> int:
    """Threads that call the network: with several lanes one more, as one picks boxes while the lanes are full."""
    return 1 if lanes == 1 else lanes + 1


def run_ahead(items: Generator[OutT, None, None], ahead: int) -> Generator[OutT, None, None]:
    """The values of a generator, which a thread takes from it up to ``ahead`` early; its errors come out here."""
    ready: queue.Queue[tuple[OutT] | BaseException | None] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def put(entry: tuple[OutT] | BaseException | None) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(entry, timeout=_SLICE_S)
                return

    def run() -> None:
        try:
            with contextlib.closing(items):
                for value in items:
                    put((value,))
                    if stop.is_set():
                        return
        except BaseException as error:  # raised again by who takes the values
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=run, name="vedette-video", daemon=True)
    thread.start()
    try:
        while (entry := _next_of(ready)) is not None:
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]
    finally:
        stop.set()
        thread.join(_FAREWELL_S)


def _next_of(ready: queue.Queue[OutT]) -> OutT:
    while True:
        with contextlib.suppress(queue.Empty):
            return ready.get(timeout=_SLICE_S)


def _say_whose_times(source: Source, settings: StreamSettings) -> None:
    decoded = [*source.videos, *(item for item in source.streams if item.kind == "stream")]
    if decoded and (settings.decoder == "opencv" or not pyav_is_installed()):
        _log.warning(
            "times of pictures are those that OpenCV gives, from the container's positions or frame rate, and may be "
            "off in clips of variable frame rate; pip install 'vedette[video]' reads the exact ones"
        )


def _pictures(
    items: Iterable[SourceItem], predictor: AnyPredictor, settings: StreamSettings
) -> Iterator[_Loaded]:
    def load(item: SourceItem) -> _Loaded:
        started = time.perf_counter()
        try:
            image = item.load(settings.limits, predictor.picture_format)
            return _ready(item, image, started, predictor, settings)
        except VedetteError as error:
            return _Loaded(item, error=error)
        except (OSError, MemoryError) as error:
            reason = f"cannot be read ({error or type(error).__name__})"
            return _Loaded(item, error=ImageError(reason, where=item.path))

    return read_ahead(items, load, workers=settings.workers, ahead=settings.ahead)


def _video(
    video: VideoItem, predictor: AnyPredictor, settings: StreamSettings
) -> Generator[_Loaded, None, None]:
    """Everything of one video, between the events of its begin and end; the second holds what was wrong."""
    place = _place(video)
    frames, error = 0, None
    try:
        with contextlib.closing(
            open_video(video, timeout_s=settings.live.timeout_s, decoder=settings.decoder)
        ) as reader:
            yield _Loaded(place, event=SourceEvent("opened", frame_rate=reader.frame_rate))
            started = time.perf_counter()
            for frame in reader.frames(settings.live.stride):
                frames += 1
                yield _ready(_place(video, frame), frame.image, started, predictor, settings)
                started = time.perf_counter()
    except VedetteError as failure:
        error = failure
    except (OSError, MemoryError) as failure:
        error = DataError(f"cannot be read ({failure or type(failure).__name__})", where=video.path)
    yield _Loaded(place, error=error, event=SourceEvent("ended", frames, error=error))


def _live(
    streams: tuple[VideoItem, ...], predictor: AnyPredictor, settings: StreamSettings
) -> Iterator[PictureResult]:
    def open_item(item: VideoItem, timeout_s: float) -> VideoReader:
        return open_video(item, timeout_s=timeout_s, decoder=settings.decoder)

    with contextlib.closing(LiveStreams(streams, settings.live, open_item)) as live:
        for batch in live.batches(settings.batch_size):
            loaded = []
            for video, arrival in batch:
                if isinstance(arrival, SourceEvent):
                    ended = arrival.error if arrival.kind == "ended" else None
                    loaded.append(_Loaded(_place(video), error=ended, event=arrival))
                else:
                    place, now = _place(video, arrival), time.perf_counter()
                    loaded.append(_ready(place, arrival.image, now, predictor, settings))
            yield from _finish(loaded, predictor)


def _place(video: VideoItem, frame: VideoFrame | None = None) -> SourceItem:
    if frame is None:
        return SourceItem(video.path, video.file, live=video.live)
    return SourceItem(video.path, video.file, frame_index=frame.index, time_ms=frame.time_ms, live=video.live)


def _ready(
    item: SourceItem, image: Image, started: float, predictor: AnyPredictor, settings: StreamSettings
) -> _Loaded:
    decode = (time.perf_counter() - started) * 1000.0
    prepared = predictor.prepare(image, path=item.path, decode_milliseconds=decode)
    return _Loaded(item, prepared, image if settings.keep_images else None)


def _in_batches(
    loaded: Iterable[_Loaded], predictor: AnyPredictor, settings: StreamSettings
) -> Iterator[PictureResult]:
    """The results of what was loaded, in its order, by as many lanes as there are."""

    def finish(batch: list[_Loaded]) -> list[PictureResult]:
        return list(_finish(batch, predictor))

    for results in through_lanes(_batches(loaded, settings.batch_size), finish, settings.lanes):
        yield from results


def _batches(loaded: Iterable[_Loaded], batch_size: int) -> Iterator[list[_Loaded]]:
    waiting: list[_Loaded] = []
    readable = 0
    for entry in loaded:
        waiting.append(entry)
        readable += entry.prepared is not None
        if readable == batch_size or len(waiting) == 4 * batch_size:
            yield waiting
            waiting, readable = [], 0
    if waiting:
        yield waiting


def _finish(waiting: list[_Loaded], predictor: AnyPredictor) -> Iterator[PictureResult]:
    found = iter(predictor.detect([entry.prepared for entry in waiting if entry.prepared is not None]))
    for entry in waiting:
        if entry.prepared is None:
            yield PictureResult(entry.item, error=entry.error, event=entry.event)
            continue
        detections = next(found)
        if entry.item.frame_index is not None:
            detections = replace(detections, frame_index=entry.item.frame_index, time_ms=entry.item.time_ms)
        yield PictureResult(entry.item, detections, image=entry.image)
