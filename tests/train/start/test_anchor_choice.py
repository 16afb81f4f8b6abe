"""When anchors are kept and when they are fitted, and the boxes they are measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.flow.conftest import draw_rectangles
from vedette.data.description import load_description
from vedette.data.index import SplitIndex, load_index
from vedette.errors import ModelError, UsageError
from vedette.model.detector import build_detector
from vedette.model.releases import architecture
from vedette.train.start.anchor_choice import ENOUGH_RECALL, box_sizes, choose_anchors

TINY = architecture("tiny", classes=2)
FLAT = np.array([[300.0 + step, 3.0 + step / 8] for step in range(40)])
"""Boxes that no published anchor answers for."""
SQUARE = np.array([[20.0 + 5 * step, 20.0 + 5 * step] for step in range(40)])


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SplitIndex:
    description = load_description(str(draw_rectangles(tmp_path_factory.mktemp("anchors"), train=4, val=1)))
    return load_index(description, "train", cache_dir=tmp_path_factory.mktemp("cache"))


def _with_boxes(index: SplitIndex, boxes: list[list[float]], ignored: list[bool]) -> SplitIndex:
    offsets = np.array([0, *[len(boxes)] * len(index)])
    return replace(
        index,
        sizes_hw=np.tile(np.array([[100, 200]], dtype=np.int32), (len(index), 1)),
        offsets=offsets,
        boxes_xyxy_px=np.array(boxes, dtype=np.float64).reshape(-1, 4),
        ignored=np.array(ignored, dtype=bool),
    )


def test_sizes_are_those_in_the_frame(index: SplitIndex) -> None:
    """Pictures of 100 x 200 in frames of 640 x 640 and 320 x 480: factors 3.2 and 2.4."""
    boxes = [[10.0, 20, 60, 40], [-5, 0, 15, 10], [50, 50, 90, 90], [300, 10, 320, 20]]
    given = _with_boxes(index, boxes, [False, False, True, False])
    np.testing.assert_allclose(box_sizes(given, (640, 640)), [[160, 64], [48, 32]])
    np.testing.assert_allclose(box_sizes(given, (320, 480)), [[120, 48], [36, 24]])


def test_sizes_of_a_real_split(index: SplitIndex) -> None:
    expected = (index.boxes_xyxy_px[:, 2:] - index.boxes_xyxy_px[:, :2]) * (640 / 96)
    np.testing.assert_allclose(box_sizes(index, (640, 640)), expected)


def test_anchors_that_fit_are_kept() -> None:
    choice = choose_anchors(TINY, SQUARE, threshold=4.0, seed=0)
    assert choice.architecture is TINY
    assert not choice.fitted
    assert choice.fit == choice.given_fit
    assert choice.fit is not None
    assert choice.fit.best_possible_recall >= ENOUGH_RECALL
    assert choice.text.startswith("those of the model, recall 1.0000 at best, ")


def test_anchors_that_fit_badly_are_replaced() -> None:
    choice = choose_anchors(TINY, FLAT, threshold=4.0, seed=0)
    assert choice.fitted
    assert choice.given_fit is not None
    assert choice.fit is not None
    assert choice.given_fit.best_possible_recall < ENOUGH_RECALL < choice.fit.best_possible_recall
    detector = build_detector(choice.architecture)
    found = detector.head.anchors_px().reshape(-1, 2).numpy()
    np.testing.assert_allclose(found, np.array(choice.architecture.anchors_px).reshape(-1, 2), rtol=1e-6)
    assert "fitted to 40 boxes" in choice.text
    assert "those of the model: recall" in choice.text


def test_noautoanchor_keeps_what_fits_badly() -> None:
    choice = choose_anchors(TINY, FLAT, threshold=4.0, seed=0, keep=True)
    assert choice.architecture is TINY
    assert "recall 0." in choice.text


def test_fitted_anchors_that_are_no_better_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    given = TINY.anchors_px
    monkeypatch.setattr("vedette.train.start.anchor_choice.fit_anchors", lambda *_, **__: given)
    choice = choose_anchors(TINY, FLAT, threshold=4.0, seed=0)
    assert choice.architecture is TINY
    assert not choice.fitted
    assert "fitted ones are no better" in choice.text


@pytest.mark.parametrize("count", [2, 3])
def test_a_number_for_each_level_forces_a_fit(count: int) -> None:
    choice = choose_anchors(TINY, SQUARE, threshold=4.0, seed=0, per_level=count)
    assert choice.fitted
    assert choice.architecture.anchors_per_level == count
    assert build_detector(choice.architecture).head.anchors.shape == (3, count, 2)


def test_a_model_without_anchors_gets_some() -> None:
    bare = replace(TINY, anchors_px=4)
    choice = choose_anchors(bare, SQUARE, threshold=4.0, seed=0)
    assert choice.fitted
    assert choice.given_fit is None
    assert choice.architecture.anchors_per_level == 4


@pytest.mark.parametrize("sizes", [np.zeros((0, 2)), np.full((3, 2), 0.7)], ids=["no boxes", "tiny boxes"])
def test_without_boxes_the_anchors_stay(sizes: np.ndarray) -> None:
    assert choose_anchors(TINY, sizes, threshold=4.0, seed=0).architecture is TINY
    with pytest.raises(ModelError, match="cannot be fitted without boxes"):
        choose_anchors(TINY, sizes, threshold=4.0, seed=0, per_level=3)


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(
        UsageError, match="--noautoanchor: cannot keep the anchors: the hyperparameter 'anchors'"
    ):
        choose_anchors(TINY, SQUARE, threshold=4.0, seed=0, keep=True, per_level=3)
    with pytest.raises(UsageError, match="--noautoanchor: cannot keep the anchors: the model has none"):
        choose_anchors(replace(TINY, anchors_px=3), SQUARE, threshold=4.0, seed=0, keep=True)


def test_real_data_sets_keep_the_published_anchors(data_dir: Path, tmp_path: Path) -> None:
    for name in ("bccd", "wind-turbines"):
        real = load_index(load_description(name), "train", cache_dir=tmp_path)
        assert not choose_anchors(TINY, box_sizes(real, (640, 640)), threshold=4.0, seed=0).fitted
