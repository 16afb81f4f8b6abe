"""Label statistics and anchors, also of odd data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vedette.track.label_plots import (
    MAX_BARS,
    LabelStatistics,
    draw_anchors,
    draw_labels,
    draw_labels_correlogram,
    label_statistics,
)


def _statistics(boxes: int, classes: int) -> LabelStatistics:
    random = np.random.default_rng(0)
    corner = random.uniform(0, 40, (boxes, 2))
    return label_statistics(
        [f"name {number}" for number in range(classes)],
        random.integers(0, classes, boxes),
        np.concatenate([corner, corner + random.uniform(1, 40, (boxes, 2))], axis=1),
        np.full((4, 2), 80),
        np.array([boxes, 0, 0, 0]),
    )


def test_boxes_are_relative_to_their_own_picture() -> None:
    statistics = label_statistics(
        ["a"],
        np.zeros(2, np.int64),
        np.array([[0.0, 0.0, 10.0, 20.0], [10.0, 10.0, 30.0, 40.0]]),
        np.array([[20, 10], [5, 5], [40, 30]]),
        np.array([1, 0, 1]),
    )
    np.testing.assert_allclose(
        statistics.boxes_cxcywh_rel, [[0.5, 0.5, 1.0, 1.0], [20 / 30, 25 / 40, 20 / 30, 30 / 40]]
    )


@pytest.mark.parametrize(("boxes", "classes"), [(0, 2), (1, 1), (700, MAX_BARS + 20)])
def test_labels_are_drawn(tmp_path: Path, boxes: int, classes: int) -> None:
    path = draw_labels(_statistics(boxes, classes), tmp_path / "labels.png")
    text = path.with_suffix(".svg").read_text(encoding="utf-8")
    assert f"{boxes:,} boxes of {classes} classes" in text
    assert text.count("<!-- name ") == min(classes, MAX_BARS)


def test_correlogram_is_drawn_also_without_boxes(tmp_path: Path) -> None:
    for boxes in (0, 30):
        path = draw_labels_correlogram(_statistics(boxes, 2), tmp_path / "correlogram.png")
        assert path.stat().st_size > 10_000


@pytest.mark.parametrize("boxes", [0, 1, 300])
def test_anchors_are_drawn_with_their_fit(tmp_path: Path, boxes: int) -> None:
    sizes = np.random.default_rng(1).uniform(5, 60, (boxes, 2))
    anchors = [[(10.0, 13.0), (16.0, 30.0)], [(62.0, 45.0), (59.0, 119.0)]]
    path = draw_anchors(sizes, anchors, (8, 16), 4.0, tmp_path / "anchors.png")
    text = path.with_suffix(".svg").read_text(encoding="utf-8")
    assert "anchors of stride 16: 62×45, 59×119" in text
    assert ("Best possible recall" in text) == (boxes > 0)
