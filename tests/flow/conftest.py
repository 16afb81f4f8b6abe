"""A small data set that a tiny model learns in seconds, and runs of the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from tests.flow.small_runs import SmallRuns

CLASSES = ("red", "blue")
_COLOURS = ((220, 40, 40), (40, 60, 220))


def draw_rectangles(folder: Path, *, train: int, val: int, size: int = 96) -> Path:
    """Bright rectangles of two classes on grey noise, in YOLO's layout; returns the description."""
    random = np.random.default_rng(7)
    for split, count in (("train", train), ("val", val)):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for number in range(count):
            picture = random.integers(90, 150, (size, size, 3), dtype=np.uint8)
            rows = []
            for _ in range(int(random.integers(0 if number % 8 == 0 else 1, 4))):
                class_id = int(random.integers(2))
                width, height = random.integers(size // 6, size // 2, 2)
                left, top = random.integers(0, size - width), random.integers(0, size - height)
                picture[top : top + height, left : left + width] = _COLOURS[class_id]
                centre = (left + width / 2) / size, (top + height / 2) / size
                rows.append(
                    f"{class_id} {centre[0]:.6f} {centre[1]:.6f} {width / size:.6f} {height / size:.6f}"
                )
            name = f"{number:03d}"
            cv2.imwrite(str(folder / "images" / split / f"{name}.png"), picture[..., ::-1])
            (folder / "labels" / split / f"{name}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    description = folder / "rectangles.yaml"
    description.write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames: [red, blue]\n", encoding="utf-8"
    )
    return description


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of 48 training and 16 validation pictures."""
    return draw_rectangles(tmp_path_factory.mktemp("rectangles"), train=48, val=16)


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallRuns]:
    """Runs of a second, to be disturbed."""
    if not sys.platform.startswith("linux"):
        pytest.skip("forking a process that has loaded torch is safe on Linux only")
    from tests.flow.small_runs import SmallRuns

    runs = SmallRuns(tmp_path_factory.mktemp("small"))
    yield runs
    runs.close()


def vedette(
    *arguments: object, timeout: float = 300, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )


def command(*arguments: object) -> list[str]:
    """The command line of a child process; two threads, whose order must not show in the result."""
    resumed = "--resume" in arguments
    threads = (
        ["--threads", "2"] if arguments and arguments[0] in ("train", "val", "detect") and not resumed else []
    )
    return [sys.executable, "-W", "error", "-m", "vedette", *map(str, arguments), *threads]
