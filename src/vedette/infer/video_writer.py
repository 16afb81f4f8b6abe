"""Videos with boxes drawn in: VP8 in WebM, which every browser plays, with the times of the source.

PyAV writes the time of each picture. OpenCV knows only a constant rate: there a picture is repeated until its time is
over, so that the length is right and times are to one picture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from vedette.core.types import RgbImage
from vedette.errors import UsageError, WriteError
from vedette.infer.draw import DrawStyle, draw_detections
from vedette.infer.stream import PictureResult
from vedette.infer.video.reader import pyav_is_installed
from vedette.infer.writers import ResultNames, Write, writing

BROWSER_CODEC = "VP80"
"""The default four letters."""

_CONTAINERS = {"VP80": ".webm", "VP90": ".webm", "MJPG": ".avi", "XVID": ".avi", "DIVX": ".avi"}
_OTHER_CONTAINER = ".mp4"
_USUAL_RATE = 25.0
_MOST_RATE = 60.0
"""Containers of variable rate claim up to a thousand."""
_LONGEST_STILL_S = 2.0
"""A gap is not filled with more of the picture before it, where pictures have to be repeated."""
_EDGE = 114


class _Encoder(Protocol):
    def add(self, image: RgbImage, time_ms: float) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def video_writer(folder: Path, style: DrawStyle, *, streams: bool, fourcc: str = "") -> Iterator[Write]:
    """Writes ``folder/NAME.webm`` for each video, and for each stream if ``streams``.

    Args:
        folder: where to.
        style: how boxes look.
        streams: write streams too; such a file grows as long as its stream lives.
        fourcc: four letters of another codec that OpenCV has; "": VP8.

    Raises:
        WriteError: a file cannot be written.
        UsageError: OpenCV has no such codec.
    """
    names = ResultNames()
    encoders: dict[str, _Encoder] = {}
    rates: dict[str, float | None] = {}

    def write(result: PictureResult) -> None:
        item = result.item
        if item.live and not streams:
            return
        if result.event is not None:
            if result.event.kind == "opened":
                rates[item.path] = result.event.frame_rate
            elif result.event.kind == "ended" and item.path in encoders:
                with writing(folder):
                    encoders.pop(item.path).close()
            return
        if item.frame_index is None or result.detections is None or result.image is None:
            return
        if item.path not in encoders:
            size_hw = (result.image.shape[0], result.image.shape[1])
            encoders[item.path] = _encoder(
                folder / names.series(item), size_hw, rates.get(item.path), fourcc.upper()
            )
        drawn = draw_detections(result.image, result.detections, style, trails=result.trails)
        encoders[item.path].add(drawn, item.time_ms or 0.0)

    try:
        yield write
    finally:
        for encoder in encoders.values():
            with writing(folder):
                encoder.close()


def _encoder(base: Path, size_hw: tuple[int, int], rate: float | None, fourcc: str) -> _Encoder:
    fourcc = fourcc or BROWSER_CODEC
    path = base.with_name(base.name + _CONTAINERS.get(fourcc, _OTHER_CONTAINER))
    if fourcc == BROWSER_CODEC and pyav_is_installed():
        return PyAvEncoder(path, size_hw)
    return OpenCvEncoder(path, size_hw, rate or _USUAL_RATE, fourcc)


class PyAvEncoder:
    """Writes VP8 with true times, to the millisecond. Raises WriteError."""

    def __init__(self, path: Path, size_hw: tuple[int, int]) -> None:
        import av

        self._path, self._size_hw = path, size_hw
        self._first_ms: float | None = None
        self._latest = -1
        with self._named():
            self._container = av.open(str(path), "w", format="webm")
            stream: Any = self._container.add_stream("libvpx", rate=1000)
            stream.width, stream.height, stream.pix_fmt = size_hw[1], size_hw[0], "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            # Constant quality below a bound; a fixed effort of `realtime` keeps pace with the network, and
            # gives the same bytes again; its threads would wait for each other in busy loops.
            stream.bit_rate = max(1_000_000, 6 * size_hw[0] * size_hw[1])
            stream.options = {"crf": "8", "deadline": "realtime", "cpu-used": "-6", "threads": "1"}
            self._stream = stream

    def add(self, image: RgbImage, time_ms: float) -> None:
        """Append a picture, RGB, of any size; times are counted from the first one. Raises WriteError."""
        import av

        self._first_ms = time_ms if self._first_ms is None else self._first_ms
        self._latest = max(round(time_ms - self._first_ms), self._latest + 1)
        with self._named():
            frame = av.VideoFrame.from_ndarray(fitted(image, self._size_hw), format="rgb24")
            frame.pts, frame.time_base = self._latest, Fraction(1, 1000)
            for packet in self._stream.encode(frame):
                self._container.mux(packet)

    def close(self) -> None:
        """Write what is left and the index. Raises WriteError."""
        with self._named():
            try:
                for packet in self._stream.encode():
                    self._container.mux(packet)
            finally:
                self._container.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        import av

        try:
            yield
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise WriteError(
                f"cannot be written ({reason})", where=self._path, fix="check the disk and the permissions"
            ) from error


class OpenCvEncoder:
    """Writes with OpenCV at a constant rate. Raises WriteError or, for a codec that OpenCV lacks, UsageError."""

    def __init__(self, path: Path, size_hw: tuple[int, int], rate: float, fourcc: str) -> None:
        if len(fourcc) != 4 or not fourcc.isascii():
            raise UsageError(f"'{fourcc:.20}' are not four letters", where="--fourcc", fix="give mp4v, say")
        with writing(path):
            path.write_bytes(b"")
        # Capitals are the usual spelling of all but this one.
        letters = "mp4v" if fourcc == "MP4V" else fourcc
        self._size_hw, self._rate = size_hw, min(rate, _MOST_RATE)
        self._written = self._left_out = 0
        self._first_ms: float | None = None
        self._previous: RgbImage | None = None
        code = cv2.VideoWriter.fourcc(*letters)
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, self._rate, (size_hw[1], size_hw[0]))
        if not self._writer.isOpened():
            path.unlink(missing_ok=True)
            raise UsageError(
                f"OpenCV has no codec {letters} here",
                where="--fourcc",
                fix="leave the flag out, or give mp4v",
            )

    def add(self, image: RgbImage, time_ms: float) -> None:
        """Append a picture, RGB, of any size, repeating the one before until its time has come."""
        self._first_ms = time_ms if self._first_ms is None else self._first_ms
        due = round((time_ms - self._first_ms) / 1000.0 * self._rate) - self._left_out
        if self._previous is not None:
            most = round(_LONGEST_STILL_S * self._rate)
            copies = max(due - self._written, 0)
            self._left_out += max(copies - most, 0)
            for _ in range(min(copies, most)):
                self._writer.write(self._previous)
                self._written += 1
        self._previous = cv2.cvtColor(fitted(image, self._size_hw), cv2.COLOR_RGB2BGR)  # type: ignore[assignment]

    def close(self) -> None:
        """Write the last picture and close the file."""
        if self._previous is not None:
            self._writer.write(self._previous)
        self._writer.release()


def fitted(image: RgbImage, size_hw: tuple[int, int]) -> RgbImage:
    """The picture in a size, its shape kept, on grey: a stream may change its size, a file may not."""
    height, width = size_hw
    if image.shape[:2] == (height, width):
        return image
    scale = min(height / image.shape[0], width / image.shape[1])
    inner = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    canvas = np.full((height, width, 3), _EDGE, dtype=np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas[top : top + inner[0], left : left + inner[1]] = cv2.resize(image, (inner[1], inner[0]))
    return canvas
