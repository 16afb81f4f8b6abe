"""Short clips with known pictures at known times, written with PyAV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.infer.video.stream_server import numbered

VARIABLE_MS = [0, 40, 55, 300, 320, 900, 905, 1000, 1500, 1510, 1520, 2400, 2440, 2480, 2600]
"""Times of a clip whose pictures are 5 to 880 milliseconds apart."""


def pyav() -> Any:
    """The package ``av``; the test is skipped where it is not installed."""
    return pytest.importorskip("av", reason="PyAV is not installed (pip install 'vedette[video]')")


def write_clip(
    path: Path,
    times_ms: Sequence[int],
    draw: Callable[[int], np.ndarray] = numbered,
    codec: str = "libvpx",
    **options: str,
) -> Path:
    """A clip of the pictures ``draw(0)``, ``draw(1)`` ... (uint8 [H, W, 3]), shown at these times.

    The test is skipped where there is no PyAV.
    """
    av = pyav()
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=30)
        stream.height, stream.width = draw(0).shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.codec_context.time_base = Fraction(1, 1000)
        if codec == "libvpx":
            stream.options = {"deadline": "realtime", "cpu-used": "-8", "threads": "1"}
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(draw(number), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def noise(number: int) -> np.ndarray:
    """A picture that no codec makes small, so that half a file holds about half of the pictures."""
    return np.random.default_rng(number).integers(0, 255, (64, 96, 3), dtype=np.uint8)


def cut(path: Path, share: float) -> Path:
    """Leave only this share of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path
