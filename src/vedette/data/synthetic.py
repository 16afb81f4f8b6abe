"""The embedded data set: scenes drawn from a seed, written as a YOLO data set with its description."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from vedette.core.random import generator
from vedette.data.synthetic_scenes import Scene, draw_scene
from vedette.data.synthetic_shapes import CLASS_NAMES
from vedette.errors import UsageError, WriteError

if TYPE_CHECKING:
    from vedette.core.types import SizeHW

DRAWING_VERSION: Final = 1
"""Raised whenever the same seed gives other pictures, so that data sets drawn before are drawn anew."""
DESCRIPTION_NAME: Final = "dataset.yaml"
MIN_SIDE_PX: Final = 64
_JPEG_QUALITY: Final = 94


def draw_dataset(
    folder: Path,
    *,
    seed: int = 0,
    train: int = 480,
    val: int = 120,
    test: int = 0,
    size_hw: SizeHW = (320, 320),
) -> Path:
    """Draw the data set into a folder, unless exactly this one is already there.

    Pictures go to ``images/SPLIT/``, labels to ``labels/SPLIT/``. The splits are drawn from unrelated random
    numbers, so ``val`` and ``test`` are held out. The bytes depend on the arguments and the OpenCV version only.

    Args:
        folder: where to; made if needed. Only files of this data set are written.
        seed: 0..2**63-1.
        train: pictures of the training split; ``val`` and ``test`` likewise.
        val: see ``train``.
        test: see ``train``; 0 leaves the split out.
        size_hw: size of the pictures, at least 64 px a side.

    Returns:
        The path of the description, for ``--data``.

    Raises:
        UsageError: a count or size makes no sense.
        WriteError: the folder cannot be written.
    """
    counts = {"train": train, "val": val, **({"test": test} if test else {})}
    if min(counts.values()) < 1 or min(size_hw) < MIN_SIDE_PX:
        raise UsageError(
            f"cannot draw {counts} pictures of {size_hw[1]} x {size_hw[0]} px",
            fix=f"give at least one picture a split and sides of at least {MIN_SIDE_PX} px",
        )
    description = folder / DESCRIPTION_NAME
    text = _description(seed, counts, size_hw)
    try:
        if description.is_file() and description.read_text(encoding="utf-8") == text:
            return description
        description.unlink(missing_ok=True)  # until all is written there is no complete data set here
        for split, count in counts.items():
            _write_split(folder, split, count, seed, size_hw)
        description.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise WriteError(
            f"the data set cannot be written ({error.strerror or error})",
            where=error.filename or folder,
            fix="choose another folder",
        ) from None
    return description


def draw_picture(split: str, number: int, *, seed: int, size_hw: SizeHW) -> Scene:
    """Scene ``number`` of a split; depends on the arguments only."""
    return draw_scene(generator(seed, f"synthetic:{split}", number), size_hw)


def _write_split(folder: Path, split: str, count: int, seed: int, size_hw: SizeHW) -> None:
    images, labels = folder / "images" / split, folder / "labels" / split
    for subfolder in (images, labels):
        subfolder.mkdir(parents=True, exist_ok=True)
        for left_over in subfolder.glob("drawn_*"):  # of a larger data set drawn here before
            left_over.unlink()
    for number in range(count):
        scene = draw_picture(split, number, seed=seed, size_hw=size_hw)
        name = f"drawn_{number:05d}"
        bgr = np.ascontiguousarray(scene.image[..., ::-1])
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        (images / f"{name}.jpg").write_bytes(encoded.tobytes())
        (labels / f"{name}.txt").write_text(_label_rows(scene, size_hw), encoding="ascii", newline="\n")


def _label_rows(scene: Scene, size_hw: SizeHW) -> str:
    """YOLO rows with enough decimals to give whole pixels back; empty for a background picture."""
    height, width = size_hw
    rows = []
    for class_id, (x1, y1, x2, y2) in zip(
        scene.class_ids.tolist(), scene.boxes_xyxy_px.tolist(), strict=True
    ):
        centre_and_size = (
            (x1 + x2) / 2 / width,
            (y1 + y2) / 2 / height,
            (x2 - x1) / width,
            (y2 - y1) / height,
        )
        rows.append(" ".join([str(class_id), *(f"{value:.8f}" for value in centre_and_size)]) + "\n")
    return "".join(rows)


def _description(seed: int, counts: Mapping[str, int], size_hw: SizeHW) -> str:
    made = " ".join(f"{split}={count}" for split, count in counts.items())
    return "\n".join(
        [
            f"# Drawn by vedette: drawing={DRAWING_VERSION} seed={seed} {made} size={size_hw[0]}x{size_hw[1]}",
            "format: yolo",
            *(f"{split}: images/{split}" for split in counts),
            f"names: [{', '.join(CLASS_NAMES)}]",
            "",
        ]
    )
