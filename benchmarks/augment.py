"""Cost of one training sample: tiles warped straight into the output, against canvas and warp.

    python benchmarks/augment.py [--size 640] [--samples 60] [--pictures FOLDER]

Both ways make the same samples (same pictures, same random choices) in one process on one thread, in turn. Two
situations: decoded pictures in memory, and JPEG files. Without ``--pictures`` files of 640 x 480 are drawn.
Targets at 640 px: 5 ms from memory, 12 ms from files.

Wall time is what counts on an idle machine; processor time is given beside it for a shared one.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch

from vedette.augment import mosaic, pipeline
from vedette.augment.colour import plain_jitter_hsv
from vedette.augment.pipeline import Augmenter
from vedette.config.hyperparameters import Hyperparameters
from vedette.data.images import probe_image
from vedette.data.index import PictureLabels
from vedette.data.pictures import PictureStore


@dataclass(frozen=True)
class FolderIndex:
    """As much of a split index as a sample needs: JPEG files of a folder, eight made-up boxes each."""

    paths: list[Path]
    sizes_hw: np.ndarray
    boxes: list[PictureLabels]
    root: str = ""
    split: str = "train"
    content_hash: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def image_path(self, number: int) -> Path:
        """Path of a picture."""
        return self.paths[number]

    def labels(self, number: int) -> PictureLabels:
        """Eight boxes."""
        return self.boxes[number]


def make_up_labels(size_hw: np.ndarray, seed: int) -> PictureLabels:
    """Eight boxes anywhere in a picture."""
    random = np.random.default_rng(seed)
    corners = np.sort(random.random((8, 2, 2)), axis=1) * size_hw[::-1]
    return PictureLabels(
        corners.reshape(8, 4), random.integers(0, 5, 8), np.zeros(8, dtype=np.bool_), np.zeros(8)
    )


def draw_files(folder: Path, count: int = 24) -> None:
    """Photograph-like JPEG files: noise at several scales."""
    random = np.random.default_rng(0)
    for number in range(count):
        image = np.zeros((480, 640, 3), np.float32)
        for cells in (3, 12, 48, 200):
            noise = random.normal(0, 60 / cells**0.5, (cells * 3 // 4 + 1, cells, 3)).astype(np.float32)
            image += cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
        pixels = np.clip(image + 128, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])


def open_folder(folder: Path) -> FolderIndex:
    """Index of the JPEG files below a folder."""
    paths = sorted(folder.rglob("*.jpg"))[:200]
    if not paths:
        raise SystemExit(f"{folder}: no .jpg file")
    sizes_hw = np.array([probe_image(path).size_hw for path in paths], dtype=np.int32)
    return FolderIndex(paths, sizes_hw, [make_up_labels(size, seed) for seed, size in enumerate(sizes_hw)])


@contextmanager
def plain_way() -> object:
    """Samples by the twins: a canvas of twice the size, one warp of it, look-up tables for colour."""

    def compose(*arguments: object, **_: object) -> mosaic.Composed:
        return mosaic.Composed(mosaic.plain_compose(*arguments[:4]), [])  # type: ignore[arg-type]

    def jitter(*arguments: object, **_: object) -> np.ndarray:
        return plain_jitter_hsv(*arguments)  # type: ignore[arg-type]

    with (
        mock.patch.object(pipeline, "compose", compose),
        mock.patch.object(pipeline, "jitter_hsv", jitter),
    ):
        yield


def measure(make: Callable[[int], object], samples: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds (wall, processor) of the direct and of the plain way, in turn."""
    wall: dict[str, list[float]] = {"direct": [], "plain": []}
    processor: dict[str, list[float]] = {"direct": [], "plain": []}
    for position in range(-3, samples):
        for way in ("direct", "plain"):
            with plain_way() if way == "plain" else mock.MagicMock():
                wall_start, processor_start = time.perf_counter(), time.thread_time()
                make(max(position, 0))
                if position >= 0:
                    processor[way].append((time.thread_time() - processor_start) * 1e3)
                    wall[way].append((time.perf_counter() - wall_start) * 1e3)
    return {way: (statistics.median(wall[way]), statistics.median(processor[way])) for way in wall}


def run(index: FolderIndex, size: int, samples: int) -> None:
    """Measure and print both situations."""
    size_hw = (size, size)
    augmenter = Augmenter(Hyperparameters(), size_hw, 0)
    for situation, cache in (("memory", "ram"), ("files", "none")):
        store = PictureStore(index, size_hw, cache=cache)  # type: ignore[arg-type]
        if cache == "ram":
            for number in range(len(index)):
                store.picture(number)

        def make(position: int, store: PictureStore = store) -> object:
            return augmenter.sample(store, index, 0, position, position % len(index))  # type: ignore[arg-type]

        found = measure(make, samples)
        direct, plain = found["direct"], found["plain"]
        print(
            f"{situation:>7}: direct {direct[0]:6.2f} ms ({direct[1]:6.2f} cpu), "
            f"plain {plain[0]:6.2f} ms ({plain[1]:6.2f} cpu), ratio {direct[0] / plain[0]:.2f} "
            f"({direct[1] / plain[1]:.2f} cpu)"
        )


def main() -> None:
    """Parse arguments, print the protocol, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    print(
        f"python {platform.python_version()}, numpy {np.__version__}, opencv {cv2.__version__}, one thread, "
        f"{arguments.samples} mosaics of {arguments.size} px, medians"
    )
    with tempfile.TemporaryDirectory() as folder:
        if arguments.pictures is None:
            draw_files(Path(folder))
        run(open_folder(arguments.pictures or Path(folder)), arguments.size, arguments.samples)


if __name__ == "__main__":
    main()
