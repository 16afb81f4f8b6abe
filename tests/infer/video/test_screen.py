import os
import sys

import numpy as np
import pytest

from vedette.errors import DataError, MissingExtraError, UsageError
from vedette.infer.video.screen import RATE, ScreenReader, parse_screen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("screen", (0, None)),
        ("screen 2", (2, None)),
        ("screen 10 20 640 480", (0, (10, 20, 640, 480))),
        ("screen 1 10 20 640 480", (1, (10, 20, 640, 480))),
    ],
)
def test_what_is_understood(text, expected):
    assert parse_screen(text) == expected


@pytest.mark.parametrize(
    "text", ["screen x", "screen 1 2", "screen 1 2 3 0 5", "screen 1 2 3 4 5 6", "screen -1"]
)
def test_what_is_not(text):
    with pytest.raises(UsageError, match="is not understood; write 'screen'"):
        parse_screen(text)


def test_without_the_package_its_name_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(
        MissingExtraError, match=r"reading the screen needs the package 'mss'.*vedette\[screen\]"
    ):
        ScreenReader("screen")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems always have a screen")
def test_without_a_screen_that_is_said(monkeypatch):
    pytest.importorskip("mss")
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DataError, match="screen: there is no screen"):
        ScreenReader("screen")


@pytest.mark.skipif(
    sys.platform == "linux" and "DISPLAY" not in os.environ,
    reason="there is no screen (start Xvfb and set DISPLAY)",
)
def test_the_screen_as_a_stream():
    pytest.importorskip("mss")
    reader = ScreenReader("screen 1 0 0 64 48")
    frames = reader.frames(stride=2)
    first, second = next(frames), next(frames)
    frames.close()
    reader.close()
    assert first.image.shape == (48, 64, 3)
    assert first.image.dtype == np.uint8
    assert (first.index, second.index) == (0, 2)
    assert second.time_ms - first.time_ms > 1000 / RATE
    assert (reader.finite, reader.frame_rate) == (False, RATE)
    with pytest.raises(DataError, match="there is no monitor 99"):
        ScreenReader("screen 99")
