"""Small data sets of pictures that are not 8-bit RGB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tests.data.tiff_files import tiff_file

SIZE = 64
HIDDEN_LOW, HIDDEN_HIGH = 12, 108
"""Low bytes of the two classes; below 128, so that rounding to 8 bits does not show them either."""


def draw_hidden_classes(folder: Path, *, bits: int, train: int, val: int) -> Path:
    """12-bit pictures of one channel whose objects differ from the background in the high byte, and from each other
    in the low byte alone; with 8 ``bits`` the same without the low byte, as bright as before. Returns the description.
    """
    random = np.random.default_rng(3)
    for split, count in (("train", train), ("val", val)):
        _make_folders(folder, split)
        for number in range(count):
            high = np.full((SIZE, SIZE), 2)
            low = random.integers(0, 120, (SIZE, SIZE))
            rows = []
            for half, class_id in zip((0, SIZE // 2), random.permutation(2).tolist(), strict=True):
                width, height = random.integers(SIZE // 4, SIZE // 2 - 2, 2)
                left, top = half + random.integers(0, SIZE // 2 - width), random.integers(0, SIZE - height)
                inside = slice(top, top + height), slice(left, left + width)
                high[inside] = 3
                hidden = (HIDDEN_LOW, HIDDEN_HIGH)[class_id]
                low[inside] = hidden + random.integers(-8, 8, (height, width))
                rows.append(_row(class_id, left, top, int(width), int(height)))
            picture = (256 * high + low).astype(np.uint16) if bits == 12 else (16 * high).astype(np.uint8)
            assert cv2.imwrite(str(folder / "images" / split / f"{number:03d}.png"), picture)
            _write_rows(folder, split, number, rows)
    return _describe(folder / "hidden.yaml", f"channels: 1\nbits: {bits}\n")


def draw_channels(folder: Path, channels: int, suffix: str, keys: str) -> Path:
    """Rectangles that are bright in another channel for each class, as TIFF, PNG or NPY; returns the description."""
    random = np.random.default_rng(5)
    for split, count in (("train", 8), ("val", 4)):
        _make_folders(folder, split)
        for number in range(count):
            picture = random.integers(2000, 6000, (SIZE, SIZE, channels)).astype(np.uint16)
            class_id = number % 2
            left, top, side = int(random.integers(30)), int(random.integers(30)), int(random.integers(16, 32))
            picture[top : top + side, left : left + side, -1 if class_id else 0] += (
                30000 * (1 + class_id) // 2
            )
            path = folder / "images" / split / f"{number:03d}{suffix}"
            if suffix == ".npy":
                np.save(path, picture)
            elif suffix == ".tif":
                path.write_bytes(tiff_file([picture], planar=number % 2 == 0))
            else:
                assert cv2.imwrite(str(path), picture)
            _write_rows(folder, split, number, [_row(class_id, left, top, side, side)])
    return _describe(folder / "channels.yaml", keys)


def _make_folders(folder: Path, split: str) -> None:
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)


def _row(class_id: int, left: int, top: int, width: int, height: int) -> str:
    centre = (left + width / 2) / SIZE, (top + height / 2) / SIZE
    return f"{class_id} {centre[0]:.6f} {centre[1]:.6f} {width / SIZE:.6f} {height / SIZE:.6f}"


def _write_rows(folder: Path, split: str, number: int, rows: Sequence[str]) -> None:
    (folder / "labels" / split / f"{number:03d}.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _describe(path: Path, keys: str) -> Path:
    text = f"path: .\ntrain: images/train\nval: images/val\nnames: [first, second]\n{keys}"
    path.write_text(text, encoding="utf-8")
    return path
