"""Videos, streams and cameras through OpenCV, which is always there."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from vedette.errors import DataError
from vedette.infer.video.reader import MAX_PIXELS, VideoFrame, VideoItem

_LEAST_MISSING_S = 1.0
_MISSING_SHARE = 0.05
"""The length that OpenCV gives may be that of the sound."""


class OpenCvReader:
    """Reads with OpenCV. See :class:`~vedette.infer.video.reader.VideoReader`.

    Raises:
        DataError: the source cannot be opened, or its pictures are larger than is accepted.
    """

    def __init__(self, item: VideoItem, timeout_s: float = 5.0) -> None:
        self._where = item.path
        self._live = item.live
        if item.kind == "camera":
            self._capture = cv2.VideoCapture(int(item.address))
        else:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
            parameters = [part for limit in limits for part in (limit, int(timeout_s * 1000))]
            # Other readers of OpenCV take names as patterns, and open many files.
            self._capture = cv2.VideoCapture(item.address, cv2.CAP_FFMPEG, parameters)
        if not self._capture.isOpened():
            self._capture.release()
            raise self._cannot_be_opened(item)
        width, height = (
            int(self._capture.get(name)) for name in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > MAX_PIXELS:
            self._capture.release()
            raise DataError(f"{width} x {height} pixels, more than {MAX_PIXELS} in all", where=self._where)

    @property
    def frame_rate(self) -> float | None:
        """Pictures a second on average."""
        rate = float(self._capture.get(cv2.CAP_PROP_FPS))
        return rate if 0 < rate <= 1000 else None

    @property
    def finite(self) -> bool:
        """Whether the container says how long it is."""
        return self._duration_s > 0

    def frames(self, stride: int = 1) -> Iterator[VideoFrame]:
        """Every ``stride``-th picture, with the time OpenCV gives, else one of the average rate. Raises DataError."""
        index, latest_s, longest_step_s = 0, -1.0, 0.0
        while self._capture.grab():
            time_s = self._time_s(index, latest_s)
            longest_step_s = max(longest_step_s, time_s - latest_s if index else 0.0)
            latest_s = time_s
            if index % stride == 0:
                done, pixels = self._capture.retrieve()
                if done:
                    image = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
                    yield VideoFrame(image, index, time_s * 1000.0)
            index += 1
        if not self._live:
            self._complain(index, latest_s, longest_step_s)

    def close(self) -> None:
        """Close the file, connection or camera."""
        self._capture.release()

    @property
    def _duration_s(self) -> float:
        count, rate = (
            float(self._capture.get(name)) for name in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)
        )
        return count / rate if count > 0 and rate > 0 else 0.0

    def _time_s(self, index: int, latest_s: float) -> float:
        time_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0
        if index and time_s <= latest_s:  # no time is reported as 0
            return latest_s + 1.0 / (self.frame_rate or 25.0)
        return max(time_s, 0.0)

    def _complain(self, pictures: int, latest_s: float, longest_step_s: float) -> None:
        if not pictures:
            raise DataError("no picture of it can be decoded", where=self._where)
        duration_s = self._duration_s
        missing_s = duration_s - latest_s
        if missing_s > max(_LEAST_MISSING_S, 2 * longest_step_s, _MISSING_SHARE * duration_s):
            raise DataError(
                f"ends after {latest_s:.2f} s of {duration_s:.2f} s: the file is cut off or damaged",
                where=self._where,
                fix="copy it again",
            )

    def _cannot_be_opened(self, item: VideoItem) -> DataError:
        if item.kind == "camera":
            return DataError("there is no such camera, or another program has it", where=self._where)
        if item.kind == "stream":
            return DataError("the connection failed", where=self._where)
        return DataError(
            "cannot be read as a video",
            where=self._where,
            fix="it may be cut off or damaged: copy it again",
        )
