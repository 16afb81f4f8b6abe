"""Default anchors, and how well a set of anchors fits the boxes of a data set.

Numbers: specification ``model.md`` sections 4 and 8. The metric: golden-training 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vedette.errors import ModelError
from vedette.model.bounds import check_integer, check_list, check_number

MAX_LEVELS = 16
MAX_ANCHORS_PER_LEVEL = 100

Anchors = tuple[tuple[tuple[float, float], ...], ...]
"""One tuple a level of (width, height) pairs in pixels."""

DEFAULT_ANCHORS_P5: Anchors = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)
"""Strides 8, 16, 32; every release."""

DEFAULT_ANCHORS_P6: Anchors = (
    ((19.0, 27.0), (44.0, 40.0), (38.0, 94.0)),
    ((96.0, 68.0), (86.0, 152.0), (180.0, 137.0)),
    ((140.0, 301.0), (303.0, 264.0), (238.0, 542.0)),
    ((436.0, 615.0), (739.0, 380.0), (925.0, 792.0)),
)
"""Strides 8, 16, 32, 64; the P6 models of v6.0 and v7.0."""


def read_anchors(value: object, where: str) -> Anchors | int:
    """Anchors from JSON or YAML: a number per level, or per level a list of pairs or of alternating numbers.

    Raises:
        ModelError: anything else, or levels with different numbers of anchors.
    """
    if isinstance(value, int):
        return check_integer(value, 1, MAX_ANCHORS_PER_LEVEL, where)
    levels = [
        _read_level(level, f"{where}: level {index}")
        for index, level in enumerate(check_list(value, 1, MAX_LEVELS, where))
    ]
    if len({len(level) for level in levels}) != 1:
        counts = ", ".join(str(len(level)) for level in levels)
        raise ModelError(f"every level needs the same number of anchors, not {counts}", where=where)
    return tuple(levels)


def _read_level(level: object, where: str) -> tuple[tuple[float, float], ...]:
    numbers: list[object] = []
    for entry in check_list(level, 1, 2 * MAX_ANCHORS_PER_LEVEL, where):
        numbers.extend(check_list(entry, 2, 2, where) if isinstance(entry, (list, tuple)) else [entry])
    if len(numbers) % 2:
        raise ModelError(f"has {len(numbers)} numbers; widths and heights come in pairs", where=where)
    sizes = [check_number(number, 0.0, 1e6, where) for number in numbers]
    return tuple(zip(sizes[0::2], sizes[1::2], strict=True))


def placeholder_anchors(levels: int, anchors_per_level: int) -> Anchors:
    """What stands in for anchors that are still to be fitted: 0, 1, 2, ... on every level."""
    level = tuple((float(2 * i), float(2 * i + 1)) for i in range(anchors_per_level))
    return (level,) * levels


@dataclass(frozen=True, slots=True)
class AnchorFit:
    """How well anchors fit boxes.

    Attributes:
        best_possible_recall: part of the boxes that some anchor may answer for, 0..1.
        anchors_above_threshold: mean number of anchors that may answer for a box.
    """

    best_possible_recall: float
    anchors_above_threshold: float


def ratio_metric(
    sizes_wh_px: NDArray[np.floating], anchors_wh_px: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Worst side ratio of every box with every anchor.

    Args:
        sizes_wh_px: box widths and heights [M, 2], > 0.
        anchors_wh_px: anchor widths and heights [K, 2], > 0.

    Returns:
        float64 [M, K], 0..1: the smaller of min(r, 1/r) over width and height; 1 means equal sizes.

    Raises:
        ModelError: a wrong shape, or a size that is not positive and finite.
    """
    boxes = _positive_sizes(sizes_wh_px, "box")
    anchors = _positive_sizes(anchors_wh_px, "anchor")
    ratios = boxes[:, None] / anchors[None]  # [M, K, 2]
    worst: NDArray[np.float64] = np.minimum(ratios, 1.0 / ratios).min(axis=2)
    return worst


def measure_anchors(
    sizes_wh_px: NDArray[np.floating], anchors_wh_px: NDArray[np.floating], threshold: float = 4.0
) -> AnchorFit:
    """Fit of anchors [K, 2] to box sizes [M, 2]; ``threshold`` is the hyperparameter ``anchor_t`` (>= 1).

    Raises:
        ModelError: no box, no anchor, or a size that is not positive and finite.
    """
    metric = ratio_metric(sizes_wh_px, anchors_wh_px)
    if metric.size == 0:
        raise ModelError("anchors cannot be measured without boxes and anchors", where="anchors")
    matching = metric > 1.0 / threshold
    return AnchorFit(
        best_possible_recall=float(matching.any(axis=1).mean()),
        anchors_above_threshold=float(matching.sum(axis=1).mean()),
    )


def _positive_sizes(sizes: NDArray[np.floating], noun: str) -> NDArray[np.float64]:
    array = np.asarray(sizes, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ModelError(f"{noun} sizes have the shape {list(array.shape)}, expected [M, 2]", where="anchors")
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ModelError(f"{noun} sizes must be positive and finite", where="anchors")
    return array
