"""Pictures of an evaluation: batches twice, and the best and worst."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.evaluate.measured_pictures import measured
from vedette.core.colours import BLUE, ORANGE, VERMILION, Colour
from vedette.core.picture_format import PictureFormat
from vedette.evaluate.pairing import PictureCounts
from vedette.evaluate.pictures import best_and_worst, draw_pictures


def _share(path: Path, colour: Colour) -> float:
    """Part of the pixels of the first row of pictures that are about of a colour, after JPEG."""
    picture = cv2.imread(str(path))[:240, :, ::-1].astype(int)
    return float((np.abs(picture - colour).max(axis=-1) < 60).mean())


@pytest.mark.parametrize(("pictures", "sheets"), [(3, 1), (40, 3)])
def test_pictures_are_drawn_twice_and_judged(tmp_path: Path, pictures: int, sheets: int) -> None:
    paths = draw_pictures(measured(tmp_path, pictures), tmp_path / "plots")
    expected = [f"val_batch{n}_{kind}.jpg" for n in range(sheets) for kind in ("labels", "pred")]
    assert [path.name for path in paths] == [*expected, "val_best.jpg", "val_worst.jpg"]
    best, worst = paths[-2:]
    assert _share(best, BLUE) > 0.001
    assert _share(best, VERMILION) == 0
    assert _share(worst, BLUE) == 0
    assert _share(worst, VERMILION) > 0.001
    assert _share(worst, ORANGE) > 0.001


def test_pictures_that_are_gone_are_passed_over(tmp_path: Path) -> None:
    evaluation = measured(tmp_path, 4)
    (tmp_path / "01.png").unlink()
    assert len(draw_pictures(evaluation, tmp_path / "plots")) == 4
    for path in tmp_path.glob("*.png"):
        path.unlink()
    assert draw_pictures(evaluation, tmp_path / "plots") == []


def test_the_best_have_most_boxes_and_the_worst_most_errors() -> None:
    counts = PictureCounts(
        right=np.array([5, 9, 0, 0, 3]),
        wrong_class=np.zeros(5, np.int64),
        missed=np.array([0, 0, 2, 7, 1]),
        spurious=np.zeros(5, np.int64),
    )
    best, worst = best_and_worst(counts)
    assert best.tolist() == [1, 0, 4]
    assert worst.tolist() == [3, 2, 4]
    best, worst = best_and_worst(counts, most=1)
    assert (best.tolist(), worst.tolist()) == ([1], [3])


def test_pictures_of_another_format_are_shown(tmp_path: Path) -> None:
    """They are read again as they were measured, and stretched; files of five channels are no 8-bit RGB."""
    evaluation = measured(tmp_path, 2)
    for path in map(Path, evaluation.image_paths):
        height, width = cv2.imread(str(path)).shape[:2]
        np.save(
            path.with_suffix(".npy"),
            np.random.default_rng(0).integers(500, 900, (height, width, 5), np.uint16),
        )
        path.with_suffix(".npy").replace(path)
    assert draw_pictures(evaluation, tmp_path / "as rgb") == []
    paths = draw_pictures(replace(evaluation, picture_format=PictureFormat(5, 16)), tmp_path / "plots")
    assert len(paths) == 4
    assert cv2.imread(str(paths[0])).std() > 40
