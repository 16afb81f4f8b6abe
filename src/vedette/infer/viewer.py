"""A window that shows results as they come (``--view-img``)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

import cv2

from vedette.core.printable import printable
from vedette.errors import UsageError
from vedette.infer.draw import DrawStyle, draw_detections
from vedette.infer.stream import PictureResult

Show = Callable[[PictureResult], bool]
"""Shows a result; False: somebody pressed q."""

_WAIT_MS = 1


def refuse_without_windows() -> None:
    """Raises UsageError where no window can be opened."""
    interface = next(
        (line.split(":")[1].strip() for line in cv2.getBuildInformation().splitlines() if "GUI:" in line), ""
    )
    if interface in ("", "NONE"):
        raise UsageError(
            "the installed OpenCV is the headless one, which has no windows",
            where="--view-img",
            fix="pip uninstall opencv-python-headless, then pip install opencv-python",
        )
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        raise UsageError(
            "there is no screen to open a window on",
            where="--view-img",
            fix="set DISPLAY, or look at the written pictures and videos",
        )


@contextlib.contextmanager
def viewer(style: DrawStyle) -> Iterator[Show]:
    """One window a source; to be used in the main thread, where some systems want windows to be.

    Raises:
        UsageError: there are no windows here.
    """
    refuse_without_windows()

    def show(result: PictureResult) -> bool:
        if result.detections is not None and result.image is not None:
            drawn = draw_detections(result.image, result.detections, style, trails=result.trails)
            cv2.imshow(_title(result), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(_WAIT_MS) & 0xFF != ord("q")

    try:
        yield show
    finally:
        cv2.destroyAllWindows()


def _title(result: PictureResult) -> str:
    return "vedette" if result.item.frame_index is None else f"vedette: {printable(result.item.path)}"
