"""Streams that are read while they happen: a thread for each, reconnection, and the newest pictures of all.

A stream that is lost is asked again and again, at growing distances; the others do not notice. What happens to it
(opened, lost, recovered, ended) comes out among its pictures, in order.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Literal

from vedette.errors import DataError, VedetteError
from vedette.infer.video.reader import VideoFrame, VideoItem, VideoReader, open_video

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 3.0
"""Between attempts to reach a lost stream; doubles from the first to the longest."""

RETRIES_WHEN_NEW = 3
RETRIES_WHEN_KNOWN = 40
"""Attempts in a row, where the user gave no number: of a stream that never answered, and of one that did."""

MOST_KEPT = 64
"""Pictures of a stream that wait where all are kept; then its reader waits, and whoever sends."""

_SLICE_S = 0.1
"""Waiting is cut into slices, so that Ctrl-C is heard on every system."""
_FAREWELL_S = 0.5

EventKind = Literal["opened", "lost", "recovered", "ended"]


@dataclass(frozen=True, slots=True)
class SourceEvent:
    """Something that happened to a video or stream.

    Attributes:
        kind: "opened"; "lost": no more pictures, reconnecting; "recovered"; "ended": for good.
        frames: pictures that had come so far.
        time_ms: when, in milliseconds since the streams were begun; of a video None.
        utc: when, as a date; of a video "".
        error: what was wrong; None if nothing was.
        gap_ms: of "recovered": from the last picture before the gap to the first behind it.
        dropped: pictures so far that were replaced by newer ones before anybody looked at them.
        frame_rate: of "opened": pictures a second, if known.
    """

    kind: EventKind
    frames: int = 0
    time_ms: float | None = None
    utc: str = ""
    error: VedetteError | None = None
    gap_ms: float | None = None
    dropped: int = 0
    frame_rate: float | None = None


Arrival = tuple[VideoItem, VideoFrame | SourceEvent]


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How live streams are read.

    Attributes:
        keep_all: every picture, as far as who sends can wait; else the newest, and the others are counted.
        retries: attempts in a row to reach a lost stream before it is given up; -1: for ever; None: a few if it
            never answered, some minutes of them if it did.
        timeout_s: a stream that is silent for so long is lost.
        stride: every Nth picture only.
    """

    keep_all: bool = False
    retries: int | None = None
    timeout_s: float = 5.0
    stride: int = 1

    def attempts(self, known: bool) -> float:
        """How often in a row a stream is asked."""
        if self.retries is None:
            return RETRIES_WHEN_KNOWN if known else RETRIES_WHEN_NEW
        return float("inf") if self.retries < 0 else self.retries


Open = Callable[..., VideoReader]


class LiveStreams:
    """Reads streams, each in its own thread, from the moment it is made.

    Args:
        items: cameras, addresses, screens.
        settings: how.
        open_item: opens one; called in the thread of its stream.
    """

    def __init__(
        self,
        items: Sequence[VideoItem],
        settings: LiveSettings | None = None,
        open_item: Open = open_video,
    ) -> None:
        self._arrived = threading.Condition()
        self._stop = threading.Event()
        begun = time.monotonic()
        chosen = settings or LiveSettings()
        self._channels = [
            _Channel(item, chosen, open_item, self._arrived, self._stop, begun) for item in items
        ]
        self._threads = [
            threading.Thread(target=channel.run, name=f"vedette-stream-{number}", daemon=True)
            for number, channel in enumerate(self._channels)
        ]
        for thread in self._threads:
            thread.start()

    def batches(self, at_most: int) -> Iterator[list[Arrival]]:
        """What has arrived, whenever something has, until every stream has ended.

        Of each stream in turn one thing, and again while fewer than ``at_most`` are together; at least one of each
        that has any.
        """
        while True:
            with self._arrived:
                while not any(channel.waiting for channel in self._channels):
                    for channel in self._channels:
                        if channel.defect is not None:
                            raise channel.defect
                    if all(channel.done for channel in self._channels):
                        return
                    self._arrived.wait(_SLICE_S)
                batch = self._taken(at_most)
                self._arrived.notify_all()
            yield batch

    def close(self) -> None:
        """Stop reading. A thread that waits for a silent stream ends by itself when its time-out does."""
        self._stop.set()
        with self._arrived:
            self._arrived.notify_all()
        deadline = time.monotonic() + _FAREWELL_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _taken(self, at_most: int) -> list[Arrival]:
        batch: list[Arrival] = []
        while len(batch) < at_most and any(channel.waiting for channel in self._channels):
            batch += [
                (channel.item, channel.waiting.popleft()) for channel in self._channels if channel.waiting
            ]
        return batch


@dataclass(slots=True)
class _Channel:
    """One stream: its reader's thread writes, under the common lock, what ``LiveStreams`` takes."""

    item: VideoItem
    settings: LiveSettings
    open_item: Open
    arrived: threading.Condition
    stop: threading.Event
    begun: float
    waiting: deque[VideoFrame | SourceEvent] = field(default_factory=deque)
    done: bool = False
    frames: int = 0
    dropped: int = 0
    failures: int = 0
    last_frame_s: float = 0.0
    lost: bool = False
    defect: Exception | None = None

    def run(self) -> None:
        """Read until the stream is over, given up, or nobody wants it any more."""
        try:
            while not self.stop.is_set():
                error = self._read()
                if error is None or self.stop.is_set():
                    break
                if not self._worth_another_attempt(error):
                    break
        except Exception as defect:  # ours: raised again where the pictures are taken
            self.defect = defect
        finally:
            with self.arrived:
                self.done = True
                self.arrived.notify_all()

    def _read(self) -> VedetteError | None:
        """One connection, from opening to its end; returns why it ended, None if it was over."""
        reader: VideoReader | None = None
        try:
            reader = self.open_item(self.item, timeout_s=self.settings.timeout_s)
            earlier = self.frames
            for frame in reader.frames(self.settings.stride):
                if self.stop.is_set():
                    return None
                self._deliver(frame, earlier + frame.index, reader)
            if not reader.finite:
                return DataError("the stream ended", where=self.item.path)
        except VedetteError as error:
            if reader is None or not (reader.finite and self.frames):
                return error
            self._put(self._event("ended", error=error))
            return None
        finally:
            if reader is not None:
                reader.close()
        self._put(self._event("ended"))
        return None

    def _deliver(self, frame: VideoFrame, index: int, reader: VideoReader) -> None:
        """Pass a picture on; its number counts on over reconnections, so that no two of a stream have one."""
        now = self._now()
        if not self.frames:
            self._put(self._event("opened", frame_rate=reader.frame_rate))
        elif self.lost:
            self._put(self._event("recovered", gap_ms=(now - self.last_frame_s) * 1000.0))
        self.lost, self.failures, self.last_frame_s = False, 0, now
        self.frames = index + 1
        self._put(VideoFrame(frame.image, index, now * 1000.0))

    def _worth_another_attempt(self, error: VedetteError) -> bool:
        """Tell of the loss, wait, and say whether to go on."""
        self.failures += 1
        hopeless = not isinstance(error, DataError)  # a package is missing, say
        if hopeless or self.failures > self.settings.attempts(known=self.frames > 0):
            self._put(self._event("ended", error=error))
            return False
        if not self.lost:
            self.lost = True
            self._put(self._event("lost", error=error))
        self.stop.wait(min(FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 16), LONGEST_PAUSE_S))
        return not self.stop.is_set()

    def _put(self, entry: VideoFrame | SourceEvent) -> None:
        with self.arrived:
            if isinstance(entry, VideoFrame):
                while self.settings.keep_all and len(self.waiting) >= MOST_KEPT and not self.stop.is_set():
                    self.arrived.wait(_SLICE_S)
                if not self.settings.keep_all and self.waiting and isinstance(self.waiting[-1], VideoFrame):
                    self.waiting.pop()
                    self.dropped += 1
            self.waiting.append(entry)
            self.arrived.notify_all()

    def _event(
        self,
        kind: EventKind,
        *,
        error: VedetteError | None = None,
        gap_ms: float | None = None,
        frame_rate: float | None = None,
    ) -> SourceEvent:
        return SourceEvent(
            kind=kind,
            frames=self.frames,
            time_ms=self._now() * 1000.0,
            utc=datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            error=error,
            gap_ms=gap_ms,
            dropped=self.dropped,
            frame_rate=frame_rate,
        )

    def _now(self) -> float:
        """Seconds since the streams were begun."""
        return time.monotonic() - self.begun
