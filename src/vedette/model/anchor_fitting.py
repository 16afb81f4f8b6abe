"""Fits anchors to the boxes of a data set: k-means over their sizes, then refinement by random mutations.

Specification ``data.md`` section 14. Boxes and anchors are compared by the worst ratio of their sides
(:func:`vedette.model.anchors.ratio_metric`); of logarithms it is a difference, which is how it is computed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vedette.core.random import generator
from vedette.errors import ModelError
from vedette.model.anchors import Anchors, ratio_metric

GENERATIONS = 1000
MAX_BOXES = 20_000
"""Boxes that are looked at; more do not move the result by a pixel, but take their time."""
SMALLEST_SIDE = 2.0
"""Pixels: no anchor has a shorter side, and boxes with both sides below it are left out."""

_RESTARTS = 10
_ITERATIONS = 30
_MUTATION_RATE = 0.9
_MUTATION_SCALE = 0.1
_FACTOR_RANGE = (0.3, 3.0)

Sizes = NDArray[np.float64]


def anchor_fitness(sizes_wh_px: Sizes, anchors_wh_px: Sizes, threshold: float) -> float:
    """Mean over the boxes of their best ratio, where it is within the threshold, else 0 (golden-training 11).

    Args:
        sizes_wh_px: boxes [M, 2], > 0.
        anchors_wh_px: anchors [K, 2], > 0.
        threshold: the hyperparameter ``anchor_t``.
    """
    best = ratio_metric(sizes_wh_px, anchors_wh_px).max(axis=1)
    return float((best * (best > 1.0 / threshold)).mean())


def fittable(sizes_wh_px: Sizes) -> NDArray[np.bool_]:
    """Which boxes [M, 2] anchors are fitted to, bool [M]: those with a side of two pixels and without a side of 0."""
    longer, shorter = sizes_wh_px.max(axis=1), sizes_wh_px.min(axis=1)
    chosen: NDArray[np.bool_] = np.logical_and(longer >= SMALLEST_SIDE, shorter > 0)
    return chosen


def fit_anchors(
    sizes_wh_px: Sizes,
    strides: Sequence[int],
    anchors_per_level: int,
    *,
    threshold: float,
    seed: int,
    generations: int = GENERATIONS,
) -> Anchors:
    """Anchors for boxes of these sizes; the same for the same arguments.

    Args:
        sizes_wh_px: boxes [M, 2] in pixels of the frame.
        strides: of the levels; the smallest anchors go to the level of the smallest stride.
        anchors_per_level: A.
        threshold: the hyperparameter ``anchor_t``.
        seed: of the random choices.
        generations: of mutations; a mutation stays if it fits better.

    Returns:
        In the order of ``strides``, inside a level by area; to a hundredth of a pixel.

    Raises:
        ModelError: no box has a side of two pixels.
    """
    usable = np.asarray(sizes_wh_px, dtype=np.float64)
    usable = usable[fittable(usable)]
    if not len(usable):
        raise ModelError("cannot be fitted without boxes of at least 2 pixels", where="anchors")
    if len(usable) > MAX_BOXES:
        usable = generator(seed, "anchors: boxes").choice(usable, MAX_BOXES, replace=False)
    count = len(strides) * anchors_per_level
    random = generator(seed, "anchors: starts")
    starts = [_cluster(np.log(usable), count, random) for _ in range(_RESTARTS)]
    start = max(starts, key=lambda anchors: anchor_fitness(usable, anchors, threshold))
    refined = _refine(usable, start, threshold, generator(seed, "anchors: mutations"), generations)
    ordered = refined[np.argsort(refined.prod(axis=1), kind="stable")].round(2)
    ascending = ordered.reshape(len(strides), anchors_per_level, 2).tolist()
    places = np.argsort(np.argsort(strides, kind="stable"), kind="stable")
    return tuple(tuple((width, height) for width, height in ascending[place]) for place in places)


def _cluster(log_sizes: Sizes, count: int, random: np.random.Generator) -> Sizes:
    """One run of k-means over the logarithms of sizes [M, 2]; the centres as sizes [count, 2].

    The reference clusters the sizes themselves, so that differences of large boxes count most. Distances of
    logarithms are ratios, as in the fitness: on golden-training 11 the result is a tenth fitter.
    """
    centres = _spread_out(log_sizes, count, random)
    for _ in range(_ITERATIONS):
        nearest = _squared_distances(log_sizes, centres).argmin(axis=1)
        filled = np.bincount(nearest, minlength=count)
        sums = [np.bincount(nearest, log_sizes[:, axis], minlength=count) for axis in (0, 1)]
        means = np.stack(sums, axis=1) / np.maximum(filled, 1)[:, None]
        moved = np.where(filled[:, None] > 0, means, centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.maximum(np.exp(centres), SMALLEST_SIDE)


def _spread_out(points: Sizes, count: int, random: np.random.Generator) -> Sizes:
    """First centres: points drawn with a chance that grows with the squared distance to those drawn before.

    (k-means++, Arthur and Vassilvitskii 2007.) With fewer distinct points than centres some are drawn again.
    """
    chosen = [points[random.integers(len(points))]]
    distances = np.full(len(points), np.inf)
    for _ in range(count - 1):
        distances = np.minimum(distances, ((points - chosen[-1]) ** 2).sum(axis=1))
        sums = distances.cumsum()
        draw = random.random()
        position = np.searchsorted(sums, draw * sums[-1], side="right") if sums[-1] > 0 else 0
        chosen.append(points[min(int(position), len(points) - 1)])
    return np.stack(chosen)


def _squared_distances(points: Sizes, centres: Sizes) -> Sizes:
    """[M, K], less the part that is the same for all centres."""
    distances: Sizes = (centres**2).sum(axis=1) - 2 * points @ centres.T
    return distances


def _refine(
    sizes: Sizes, anchors: Sizes, threshold: float, random: np.random.Generator, generations: int
) -> Sizes:
    """Mutate the anchors again and again; a mutation stays if it is fitter."""
    log_sizes = np.log(sizes.T)
    fitness = _log_fitness(log_sizes, anchors, threshold)
    for _ in range(generations):
        mutant = np.maximum(anchors * _factors(random, anchors.shape), SMALLEST_SIDE)
        mutant_fitness = _log_fitness(log_sizes, mutant, threshold)
        if mutant_fitness > fitness:
            anchors, fitness = mutant, mutant_fitness
    return anchors


def _factors(random: np.random.Generator, shape: tuple[int, ...]) -> Sizes:
    """What sides are multiplied with: most of them change, by an amount whose scale is drawn too."""
    while True:
        changes = (random.random(shape) < _MUTATION_RATE) * random.standard_normal(shape)
        factors = np.clip(1 + changes * random.random() * _MUTATION_SCALE, *_FACTOR_RANGE)
        if (factors != 1).any():
            return factors


def _log_fitness(log_sizes: Sizes, anchors: Sizes, threshold: float) -> float:
    """The same as :func:`anchor_fitness`, of logarithms [2, M]: some ten times as fast."""
    log_anchors = np.log(anchors)
    gaps = np.abs(log_sizes[0] - log_anchors[:, :1])  # [K, M]
    np.maximum(gaps, np.abs(log_sizes[1] - log_anchors[:, 1:]), out=gaps)
    best = gaps.min(axis=0)
    return float(np.exp(-best[best < math.log(threshold)]).sum() / len(best))
