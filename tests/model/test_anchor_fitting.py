"""The fit reaches what the reference reached, is repeatable, and copes with boxes that are hard to cluster."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.conftest import GOLDEN
from vedette.errors import ModelError
from vedette.model.anchor_fitting import MAX_BOXES, anchor_fitness, fit_anchors
from vedette.model.anchors import measure_anchors

CASES = json.loads((GOLDEN / "training" / "11-kmeans-fitness.json").read_text(encoding="utf-8"))["cases"]


def _flat(anchors: object) -> np.ndarray:
    return np.array(anchors, dtype=float).reshape(-1, 2)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_fitness(case: dict[str, Any]) -> None:
    """golden-training 11-kmeans-fitness; 1e-6: the file holds float32 values."""
    sizes = np.array(case["expected"]["wh_filtered_px"])
    for anchor_set in case["expected"]["fitness_of_anchor_sets"]:
        fitness = anchor_fitness(sizes, np.array(anchor_set["anchors"]), case["input"]["thr"])
        assert fitness == pytest.approx(anchor_set["fitness"], abs=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_fit_is_as_good_as_the_published_one(case: dict[str, Any], seed: int) -> None:
    """golden-training 11-kmeans-fitness: the reference's fitness is a lower bound."""
    given, expected = case["input"], case["expected"]
    sizes = np.array(expected["wh_filtered_px"])
    anchors = fit_anchors(
        sizes, (8, 16, 32), given["n"] // 3, threshold=given["thr"], seed=seed, generations=given["gen"]
    )
    fitness = anchor_fitness(sizes, _flat(anchors), given["thr"])
    assert fitness >= expected["final_fitness_binding_only_as_lower_bound"]


def test_the_same_arguments_give_the_same_anchors() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(4, 1, (200, 2)))
    first, again, other = (
        fit_anchors(sizes, (8, 16, 32), 3, threshold=4.0, seed=seed, generations=50) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_mutations_help() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(4, 1, (200, 2)))
    plain, refined = (
        _flat(fit_anchors(sizes, (8, 16), 3, threshold=4.0, seed=0, generations=generations))
        for generations in (0, 200)
    )
    assert anchor_fitness(sizes, refined, 4.0) > anchor_fitness(sizes, plain, 4.0)


def test_the_smallest_anchors_go_to_the_finest_level() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(4, 1, (200, 2)))
    fine_first = fit_anchors(sizes, (8, 16, 32), 2, threshold=4.0, seed=0, generations=50)
    coarse_first = fit_anchors(sizes, (32, 16, 8), 2, threshold=4.0, seed=0, generations=50)
    areas = [width * height for level in fine_first for width, height in level]
    assert areas == sorted(areas)
    assert coarse_first == fine_first[::-1]


@pytest.mark.parametrize(
    "sizes",
    [
        np.array([[50.0, 60.0]]),
        np.full((40, 2), 32.0),
        np.array([[10.0, 10.0], [300.0, 300.0]] * 5),
        np.array([[0.5, 400.0], [1.0, 1.0], [30.0, 30.0]]),
    ],
    ids=["one box", "equal boxes", "two sizes", "a line and a dot"],
)
def test_few_or_equal_boxes(sizes: np.ndarray) -> None:
    anchors = _flat(fit_anchors(sizes, (8, 16, 32), 3, threshold=4.0, seed=0, generations=20))
    assert anchors.shape == (9, 2)
    assert (anchors >= 2).all()
    usable = sizes[(sizes >= 2).all(axis=1)]
    assert measure_anchors(usable, anchors).best_possible_recall == 1.0


@pytest.mark.parametrize("sizes", [np.zeros((0, 2)), np.full((3, 2), 1.5), np.array([[0.0, 50.0]])])
def test_nothing_to_fit_to(sizes: np.ndarray) -> None:
    with pytest.raises(ModelError, match="anchors: cannot be fitted without boxes of at least 2 pixels"):
        fit_anchors(sizes, (8, 16), 3, threshold=4.0, seed=0)


def test_large_data_sets_are_sampled() -> None:
    sizes = np.exp(np.random.default_rng(0).normal(4, 0.5, (MAX_BOXES + 1, 2)))
    anchors = fit_anchors(sizes, (8, 16), 2, threshold=4.0, seed=0, generations=1)
    assert anchors == fit_anchors(sizes, (8, 16), 2, threshold=4.0, seed=0, generations=1)
    assert measure_anchors(sizes, _flat(anchors)).best_possible_recall > 0.98
