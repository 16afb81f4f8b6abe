"""A run over a long video holds on to nothing; the figure is printed under `counted`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")

MOST_GROWTH_MB = 6.0
"""Of heap and caches between a fifth of the way and the end. The pictures alone have 37 kB each."""


def check(folder: Path, pictures: int, record: Callable[[str, object], None]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.flow.memory_program", str(folder), str(pictures)],
        capture_output=True, text=True, timeout=1200, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    sound, leaking = (json.loads(done.stdout)[name] for name in ("sound", "leaking"))
    assert sound["pictures"] == pictures
    assert sound["detections"] > 0
    growth = sound["late"] - sound["early"]
    record(f"MB more after {pictures} pictures, {sound['late']:.0f} MB resident", f"{growth:.1f}")
    assert growth < MOST_GROWTH_MB
    assert leaking["late"] - leaking["early"] > 2 * MOST_GROWTH_MB, "a leak is noticed"


def test_memory_stays_as_it_is(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    check(tmp_path, 1500, record_property)


@pytest.mark.long
def test_memory_stays_as_it_is_over_ten_thousand_pictures(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    check(tmp_path, 10_000, record_property)
