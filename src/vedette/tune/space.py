"""The search space: which hyperparameters vary, and between which limits (specification training.md section 13).

The published evolution multiplies values by random factors, so what cannot be 0 is searched on a logarithmic scale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vedette.config.hyperparameters import Hyperparameters
from vedette.errors import UsageError, nearest

DIGITS = 5
"""Significant digits of a value. (Published: 5 decimals, which leave little of a learning rate of 0.0004.)"""


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of one hyperparameter, both included.

    Attributes:
        low: least value.
        high: greatest value.
        logarithmic: equal factors are equally likely, instead of equal steps.
        published: the published evolution varies it; others are searched only if they are named.
    """

    low: float
    high: float
    logarithmic: bool = False
    published: bool = True


RANGES: dict[str, Range] = {
    "lr0": Range(1e-5, 0.1, logarithmic=True),
    "lrf": Range(0.01, 1.0, logarithmic=True),
    "momentum": Range(0.6, 0.98),
    "weight_decay": Range(0.0, 0.001),
    "warmup_epochs": Range(0.0, 5.0),
    "warmup_momentum": Range(0.0, 0.95),
    "warmup_bias_lr": Range(0.0, 0.2),
    "box": Range(0.02, 0.2, logarithmic=True),
    "cls": Range(0.2, 4.0, logarithmic=True),
    "cls_pw": Range(0.5, 2.0, logarithmic=True),
    "obj": Range(0.2, 4.0, logarithmic=True),
    "obj_pw": Range(0.5, 2.0, logarithmic=True),
    "anchor_t": Range(2.0, 8.0),
    "fl_gamma": Range(0.0, 2.0, published=False),
    "hsv_h": Range(0.0, 0.1),
    "hsv_s": Range(0.0, 0.9),
    "hsv_v": Range(0.0, 0.9),
    "degrees": Range(0.0, 45.0),
    "translate": Range(0.0, 0.9),
    "scale": Range(0.0, 0.9),
    "shear": Range(0.0, 10.0),
    "perspective": Range(0.0, 0.001, published=False),
    "flipud": Range(0.0, 1.0),
    "fliplr": Range(0.0, 1.0, published=False),
    "mosaic": Range(0.0, 1.0),
    "mixup": Range(0.0, 1.0),
    "mosaic_off_fraction": Range(0.0, 0.5, published=False),
    "label_smoothing": Range(0.0, 0.2, published=False),
}
"""Every hyperparameter that can be searched. ``iou_t``, which the published table also holds, is used by no release;
``anchors`` is not searched, because anchors that fit badly are fitted to the data anyway."""


def searched_ranges(names: Iterable[str]) -> dict[str, Range]:
    """The named ranges, or all published ones if there is no name.

    Raises:
        UsageError: a name cannot be searched; says which is the nearest that can.
    """
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in RANGES:
            raise UsageError(f"'{name}' cannot be searched", where="--search", fix=nearest(name, RANGES))
    if not wanted:
        return {name: limits for name, limits in RANGES.items() if limits.published}
    return {name: RANGES[name] for name in wanted}


def starting_values(ranges: Mapping[str, Range], base: Hyperparameters) -> dict[str, float]:
    """The values of ``base``, clamped to their ranges: the first point of a search, so it never ends worse."""
    return {
        name: _rounded(min(max(float(getattr(base, name)), limits.low), limits.high))
        for name, limits in ranges.items()
    }


def with_values(base: Hyperparameters, values: Mapping[str, Any]) -> Hyperparameters:
    """``base`` with the searched values in place, rounded. Raises ConfigError if one is out of range."""
    rounded = {name: _rounded(value) for name, value in values.items()}
    return Hyperparameters.parse({**base.model_dump(), **rounded}, where="a trial of the search")


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
