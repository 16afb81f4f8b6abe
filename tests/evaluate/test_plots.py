from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluate.boxes_made import draw, predictions_of, truth_made
from vedette.config.evaluate import EvaluateConfig
from vedette.errors import MissingExtraError, WriteError
from vedette.evaluate.packed import Predictions, Truth
from vedette.evaluate.plots import (
    draw_all,
    draw_confidence_curve,
    draw_confusion_matrix,
    draw_precision_recall,
)
from vedette.evaluate.result import Evaluation
from vedette.evaluate.run import measure_boxes

FILES = [
    "confusion_matrix",
    "f1_curve",
    "precision_curve",
    "precision_recall_curve",
    "recall_curve",
]


def _evaluation(predictions: Predictions, truth: Truth, names: list[str]) -> Evaluation:
    facts = {
        "protocol": {"name": "vedette"},
        "timing": {},
        "failed": (),
        "image_paths": (),
        "category_ids": (),
    }
    return measure_boxes(predictions, truth, names, EvaluateConfig(), **facts)


@pytest.mark.parametrize(
    "names",
    [
        ["one"],
        ["_hidden", "$x^2$", "\u732b", "a name that is far too long for the margin of a plot"],
        [f"class {number}" for number in range(24)],
    ],
    ids=["one", "odd names", "many"],
)
def test_every_plot_is_drawn(names: list[str], tmp_path: Path) -> None:
    evaluation = _evaluation(*draw(0, classes=len(names)), names)
    files = draw_all(evaluation, tmp_path / "new" / "plots")
    assert sorted(path.stem for path in files) == FILES
    for path in files:
        assert path.with_suffix(".svg").read_text(encoding="utf-8").startswith("<?xml")
        with Image.open(path) as picture:
            assert min(picture.size) > 500
            assert np.asarray(picture.convert("L")).std() > 5  # something is drawn


def test_nothing_to_draw_is_drawn(tmp_path: Path) -> None:
    for evaluation in (
        _evaluation(predictions_of([]), truth_made([]), ["a", "b"]),
        _evaluation(predictions_of([[]]), truth_made([[[0, 0, 0, 9, 9]]]), ["a", "b"]),
    ):
        draw_precision_recall(evaluation, tmp_path / "lines.png")
        draw_confidence_curve(evaluation, "f1", tmp_path / "f1.png")
        draw_confusion_matrix(evaluation.confusion, tmp_path / "matrix.png")
        for name in ("lines", "f1", "matrix"):
            path = tmp_path / f"{name}.png"
            assert path.stat().st_size > 1000
            path.unlink()


def test_drawing_leaves_no_global_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    evaluation = _evaluation(*draw(0), list("abcd"))
    before = dict(matplotlib.rcParams)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    draw_precision_recall(evaluation, tmp_path / "lines.png")
    draw_confusion_matrix(evaluation.confusion, tmp_path / "matrix.png")
    assert dict(matplotlib.rcParams) == before


def test_cells_carry_the_counts_of_their_row_and_column(tmp_path: Path) -> None:
    """The one full cell, true class 0 predicted as class 1, is dark: first row, second column."""
    evaluation = _evaluation(*draw(0), list("abcd"))
    counts = np.zeros((5, 5), np.int64)
    counts[0, 1] = 100
    path = tmp_path / "matrix.png"
    draw_confusion_matrix(replace(evaluation.confusion, counts=counts), path)
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    dark_blue = (pixels[..., 2] > pixels[..., 0] + 60) & (pixels.sum(axis=-1) < 250)
    dark_blue[:, int(0.85 * dark_blue.shape[1]) :] = False  # the colour bar
    rows, columns = np.nonzero(dark_blue)
    assert len(rows) > 1000
    height, width = dark_blue.shape
    assert rows.mean() < 0.35 * height
    assert 0.2 * width < columns.mean() < 0.5 * width


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation = _evaluation(*draw(0), list("abcd"))
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(WriteError, match="cannot be written"):
        draw_all(evaluation, tmp_path / "file")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"vedette\[train\]"):
        draw_all(evaluation, tmp_path)
