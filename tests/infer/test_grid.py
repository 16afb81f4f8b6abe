"""Sheets of small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from vedette.core.colours import BLUE, GREEN, class_colour
from vedette.core.types import Detections, Image
from vedette.errors import WriteError
from vedette.infer.draw import BoxLook
from vedette.infer.grid import TILE_SIDE, LegendEntry, class_sheet, sheet, shrunk, write_jpeg


def _grey(height: int = 90, width: int = 120) -> Image:
    return np.full((height, width, 3), 128, np.uint8)


def _boxes(
    boxes: Sequence[Sequence[float]], classes: Sequence[int], names: Sequence[str], size_hw: tuple[int, int]
) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(len(classes), 0.5, np.float32),
        np.array(classes, np.int64),
        tuple(names),
        size_hw,
    )


def _share(image: Image, colour: tuple[int, int, int]) -> float:
    return float((image == colour).all(axis=-1).mean())


def _dark(image: Image) -> float:
    """Part of the pixels that are almost black, as letters on labels are."""
    return float((image < 30).all(axis=-1).mean())


def test_picture_and_boxes_shrink_together() -> None:
    tile = shrunk(_grey(600, 1200), _boxes([[0, 0, 1200, 600]], [0], ["a"], (600, 1200)))
    assert tile.image.shape == (TILE_SIDE // 2, TILE_SIDE, 3)
    np.testing.assert_allclose(tile.boxes.boxes_xyxy_px, [[0, 0, TILE_SIDE, TILE_SIDE // 2]])
    assert tile.boxes.size_hw == tile.image.shape[:2]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 16])
def test_the_sheet_holds_all_pictures(count: int) -> None:
    pictures = [np.full((100, TILE_SIDE, 3), 10 * number, np.uint8) for number in range(count)]
    drawn = sheet(pictures, [""] * count)
    for number in range(count):
        assert _share(drawn, (10 * number,) * 3) * drawn[..., 0].size >= 100 * TILE_SIDE
    assert drawn.shape[1] <= 1300


def test_captions_and_legend_from_outside() -> None:
    names = ["plain", "猫", "a\nb", "שלום", "\U000f0000", "long" * 300, *map(str, range(30))]
    entries = [LegendEntry(name, BLUE, dashed=number % 2 == 1) for number, name in enumerate(names)]
    drawn = sheet([_grey()] * len(names), names, entries)
    assert _share(drawn, BLUE) > 0.001
    assert drawn.shape[1] <= 1300


def test_few_classes_are_explained_below_and_crowds_have_no_labels() -> None:
    boxes = [[4 * n, 4 * n, 4 * n + 30, 4 * n + 30] for n in range(12)]
    crowded = shrunk(_grey(), _boxes(boxes, [0] * 12, ["a"], (90, 120)))
    few = shrunk(_grey(), _boxes(boxes[:1], [0], ["HIT"], (90, 120)))
    many_classes = shrunk(_grey(), _boxes(boxes, range(12), [f"H{n}T" for n in range(12)], (90, 120)))
    assert _dark(class_sheet([crowded], scores=False)[: TILE_SIDE // 2]) == 0
    assert _dark(class_sheet([few], scores=False)[: TILE_SIDE // 2]) > 0
    labelled = class_sheet([many_classes], scores=False)
    assert labelled.shape[0] < class_sheet([crowded], scores=False).shape[0], "no legend below"
    assert _dark(labelled) > 0


def test_looks_are_followed() -> None:
    boxes = _boxes([[10, 10, 80, 80], [30, 30, 110, 85]], [0, 0], ["a"], (90, 120))
    looks = [BoxLook(GREEN, labelled=False), BoxLook(dashed=True, labelled=False)]
    drawn = class_sheet([shrunk(_grey(), boxes, looks=looks)], scores=False)[:230]
    line = _share(drawn, GREEN)
    assert 0.2 * line < _share(drawn, class_colour(0)) < line, "dashes leave gaps"


def test_jpeg_files(tmp_path: Path) -> None:
    path = write_jpeg(np.full((20, 30, 3), (250, 10, 10), np.uint8), tmp_path / "new" / "a.jpg")
    blue, _, red = cv2.imread(str(path))[10, 15].tolist()
    assert red > 200 > blue
    with pytest.raises(WriteError, match="cannot be written"):
        write_jpeg(_grey(), path / "below.jpg")
