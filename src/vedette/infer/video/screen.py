"""What is on the screen, as a stream."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from vedette.core.types import Image
from vedette.errors import DataError, MissingExtraError, UsageError
from vedette.infer.video.reader import VideoFrame

RATE = 30.0
"""Pictures a second, at most."""

_SPELLINGS = (
    "write 'screen', 'screen NUMBER', 'screen LEFT TOP WIDTH HEIGHT' or 'screen NUMBER LEFT TOP WIDTH HEIGHT'"
)


def parse_screen(text: str) -> tuple[int, tuple[int, int, int, int] | None]:
    """Number of the monitor and region (left, top, width, height) of ``screen 1 0 0 640 480``; 0: all monitors.

    Raises:
        UsageError: other numbers.
    """
    words = text.split()[1:]
    if not all(word.isascii() and word.isdecimal() and len(word) < 6 for word in words):
        raise UsageError("is not understood", where=f"--source '{text:.80}'", fix=_SPELLINGS)
    numbers = [int(word) for word in words]
    if len(numbers) in (4, 5) and min(numbers[-2:]) > 0:
        left, top, width, height = numbers[-4:]
        return (numbers[0] if len(numbers) == 5 else 0), (left, top, width, height)
    if len(numbers) > 1:
        raise UsageError("is not understood", where=f"--source '{text:.80}'", fix=_SPELLINGS)
    return (numbers[0] if numbers else 0), None


class ScreenReader:
    """Reads with mss (the extra ``screen``). See :class:`~vedette.infer.video.reader.VideoReader`.

    Raises:
        MissingExtraError: mss is not installed.
        DataError: there is no screen, or no such monitor.
    """

    def __init__(self, text: str) -> None:
        number, region = parse_screen(text)
        try:
            import mss
            import mss.exception
        except ImportError:
            raise MissingExtraError("mss", "screen", "reading the screen") from None
        self._where = text
        self._failures: tuple[type[Exception], ...] = (mss.exception.ScreenShotError, OSError)
        try:
            self._grabber: Any = mss.MSS()
            monitors = list(self._grabber.monitors)
        except self._failures as error:
            raise DataError(f"there is no screen ({error})", where=text) from None
        if number >= len(monitors):
            self._grabber.close()
            raise DataError(
                f"there is no monitor {number}",
                where=text,
                fix=f"give 0, for all, to {len(monitors) - 1}",
            )
        self._region = dict(monitors[number])
        if region is not None:
            left, top, width, height = region
            self._region = {
                "left": self._region["left"] + left,
                "top": self._region["top"] + top,
                "width": width,
                "height": height,
            }

    @property
    def frame_rate(self) -> float | None:
        """At most so many pictures a second."""
        return RATE

    @property
    def finite(self) -> bool:
        """A screen does not end."""
        return False

    def frames(self, stride: int = 1) -> Iterator[VideoFrame]:
        """The screen again and again. Raises DataError."""
        begun = due = time.monotonic()
        for index in itertools.count():
            time.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            due = max(due, now - 1.0 / RATE) + 1.0 / RATE
            if index % stride == 0:
                yield VideoFrame(self._picture(), index, (now - begun) * 1000.0)

    def close(self) -> None:
        """Let go of the screen."""
        self._grabber.close()

    def _picture(self) -> Image:
        try:
            shot = self._grabber.grab(self._region)
        except self._failures as error:
            raise DataError(f"the screen cannot be read ({error})", where=self._where) from None
        pixels = np.frombuffer(shot.bgra, dtype=np.uint8).reshape(shot.height, shot.width, 4)
        return np.ascontiguousarray(pixels[..., 2::-1])
