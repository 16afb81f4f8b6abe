"""Videos and streams through PyAV: exact presentation times, time-outs on every read, and damage that is named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vedette.core.types import Image
from vedette.errors import DataError, MissingExtraError
from vedette.infer.video.reader import MAX_PIXELS, VideoFrame, VideoItem

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,asf_o,flv,live_flv,ogg,gif,"
    "h264,hevc,mjpeg"
)
"""Formats that hold pictures themselves; others are lists of further things to open."""

_LEAST_MISSING_S = 0.5


class PyAvReader:
    """Reads with PyAV. See :class:`~vedette.infer.video.reader.VideoReader`.

    Raises:
        MissingExtraError: PyAV is not installed.
        DataError: the source cannot be opened or holds no pictures.
    """

    def __init__(self, item: VideoItem, timeout_s: float = 5.0) -> None:
        try:
            import av
        except ImportError:
            raise MissingExtraError("av", "video", "reading exact times of videos") from None
        self._where = item.path
        self._timeout_s = timeout_s
        self._of_network = item.address != str(item.file)
        with self._named():
            self._container: InputContainer = av.open(
                item.address,
                options=self._options(item),
                timeout=(timeout_s, timeout_s),
                metadata_errors="replace",
            )
        if not self._container.streams.video:
            self.close()
            raise DataError("holds no moving pictures", where=self._where)
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "SLICE" if item.live else "AUTO"
        self._start_s = (self._container.start_time or 0) / av.time_base
        self._latest_s = -1.0
        self._longest_step_s = 0.0
        self._end_s = 0.0

    @property
    def frame_rate(self) -> float | None:
        """Pictures a second on average."""
        rate = self._stream.average_rate
        return float(rate) if rate else None

    @property
    def finite(self) -> bool:
        """Whether the container says how long it is."""
        return (self._container.duration or 0) > 0

    def frames(self, stride: int = 1) -> Iterator[VideoFrame]:
        """Every ``stride``-th picture, with its presentation time. Raises DataError."""
        index = damaged = 0
        for decoded in self._decoded():
            if decoded is None or decoded.is_corrupt:
                damaged += 1
            if decoded is None:
                continue
            time_s = self._time_of(decoded)
            if index % stride == 0:
                with self._named():
                    image = self._upright(decoded)
                yield VideoFrame(image, index, time_s * 1000.0)
            index += 1
        self._complain(index, damaged)

    def close(self) -> None:
        """Close the container."""
        self._container.close()

    def _options(self, item: VideoItem) -> dict[str, str]:
        options = {"analyzeduration": "2000000"} if item.live else {}
        if not self._of_network:
            options["format_whitelist"] = _CONTAINERS
        elif item.address.lower().startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        return options

    def _decoded(self) -> Iterator[av.VideoFrame | None]:
        """Pictures in the order of time; None for a part that cannot be decoded."""
        import av

        with self._named():
            for packet in self._container.demux():
                if packet.dts is not None and packet.time_base is not None:
                    end = (packet.dts + (packet.duration or 0)) * packet.time_base
                    self._end_s = max(self._end_s, float(end) - self._start_s)
                if packet.stream.index != self._stream.index:
                    continue
                try:
                    yield from self._stream.decode(packet)
                except av.error.InvalidDataError:
                    yield None
                if packet.is_corrupt:
                    yield None

    def _time_of(self, decoded: av.VideoFrame) -> float:
        """Seconds from the start; where the container has no time, one usual step after the picture before."""
        if decoded.pts is None or decoded.time_base is None:
            time_s = max(self._latest_s, 0.0) + 1.0 / (self.frame_rate or 25.0)
        else:
            time_s = float(decoded.pts * decoded.time_base) - self._start_s
        if self._latest_s >= 0:
            self._longest_step_s = max(self._longest_step_s, time_s - self._latest_s)
        self._latest_s = time_s
        return time_s

    def _upright(self, decoded: av.VideoFrame) -> Image:
        if decoded.width * decoded.height > MAX_PIXELS:
            raise DataError(
                f"{decoded.width} x {decoded.height} pixels, more than {MAX_PIXELS} in all", where=self._where
            )
        image: Image = np.asarray(decoded.to_ndarray(format="rgb24"), dtype=np.uint8)
        turns = round(decoded.rotation / 90) % 4  # how far to turn the other way round
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image

    def _complain(self, pictures: int, damaged: int) -> None:
        """Name what is wrong with a video that has come to its end. Raises DataError."""
        if not pictures:
            raise DataError("no picture of it can be decoded", where=self._where)
        duration_s = (self._container.duration or 0) / 1_000_000
        missing_s = duration_s - max(self._end_s, self._latest_s)
        if missing_s > max(_LEAST_MISSING_S, 2 * self._longest_step_s, 0.02 * duration_s):
            raise DataError(
                f"ends after {self._latest_s:.2f} s of {duration_s:.2f} s: the file is cut off or damaged",
                where=self._where,
                fix="copy it again",
            )
        if damaged:
            raise DataError(
                f"{damaged} damaged parts; {pictures} pictures could be read",
                where=self._where,
                fix="copy it again",
            )

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of PyAV as ours; they hold the address, which may hold a password, so only the reason is kept."""
        import av

        try:
            yield
        except av.error.ExitError:
            raise DataError(f"no answer for {self._timeout_s:g} s", where=self._where) from None
        except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            what = "the connection failed" if self._of_network else "cannot be read as a video"
            fix = "" if self._of_network else "it may be cut off or damaged: copy it again"
            raise DataError(f"{what} ({reason})", where=self._where, fix=fix) from None
