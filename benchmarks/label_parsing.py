"""Reading YOLO label files: all plain files in one call, against line by line; the same files, the same rows.

python benchmarks/label_parsing.py [files]
"""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vedette.data.description import DatasetDescription
from vedette.data.formats import yolo
from vedette.data.formats.records import LabelFile, SplitFiles
from vedette.data.sources import PictureList

ROUNDS = 5


def draw_files(count: int) -> SplitFiles:
    """Label files of 0 to 14 rows in six decimals."""
    random = np.random.default_rng(0)
    pictures, labels = PictureList(), []
    for number in range(count):
        rows = np.round(random.random((random.integers(0, 15), 4)), 6)
        text = "".join(f"{random.integers(80)} {a:.6f} {b:.6f} {c:.6f} {d:.6f}\n" for a, b, c, d in rows)
        pictures.add(f"/images/{number}.jpg")
        labels.append(LabelFile(f"/labels/{number}.txt", text.encode()))
    return SplitFiles(pictures, labels)


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: other processes do not count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print protocol, medians and ratio."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    files = draw_files(count)
    root = Path("/images")
    description = DatasetDescription(
        "x", "x", root, "yolo", root, tuple(map(str, range(80))), tuple(range(80)), {}
    )
    times: dict[str, list[float]] = {"at once": [], "line by line": []}
    for _ in range(ROUNDS):
        times["at once"].append(seconds(lambda: yolo.parse(description, files)))
        times["line by line"].append(
            seconds(lambda: [yolo.parse_label(label.data or b"") for label in files.labels])
        )
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, one thread, processor time")
    print(
        f"{count} files, {len(yolo.parse(description, files).rows)} rows, median of {ROUNDS} alternating rounds"
    )
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name}: {median:.3f} s, {1e6 * median / count:.1f} us a file")
    print(f"ratio: {medians['line by line'] / medians['at once']:.1f}")


if __name__ == "__main__":
    main()
