"""What the releases' losses differ in, as values (specification loss.md sections 2, 3 and 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vedette.config.hyperparameters import Hyperparameters
from vedette.errors import ConfigError, nearest

LossTerm = Literal["box", "obj", "cls"]
_ALL_TERMS: frozenset[LossTerm] = frozenset({"box", "obj", "cls"})
_GAIN_CLASSES = 80
_GAIN_AREA = 640 * 640
_GAIN_LEVELS = 3


@dataclass(frozen=True, slots=True)
class LossRules:
    """One release's loss.

    Attributes:
        release: its name.
        box_overlap: the IoU variant of the box loss and of the objectness target.
        overlap_eps: keeps its divisions finite in float32. v3.1 and v4.0 published 1e-9 and v1.0 1e-16, which
            round away and let a perfect prediction become NaN; 1e-7 changes no loss by more than 2e-7.
        level_weights: objectness weight of each level by position; a tuple for three levels and one for others.
        scaled_by_levels: terms that the loss multiplies by 3 / levels.
        four_level_objectness: further factor of the objectness with four levels.
        gains_by_levels: gains that :func:`scaled_gains` multiplies by 3 / levels.
        gains_by_area: the objectness gain grows with the area of the frame.
        mirrored_neighbours: a box right on a cell border also answers in its own cell for the right (lower)
            neighbour, as v3.1 and later do; False: only in the left (upper) one.
        objectness_overlap: how much of the objectness target is the overlap; the rest is 1.
        balances_levels: the level weights follow the levels' objectness losses, slowly ("autobalance" of v7.0).
    """

    release: str
    box_overlap: Literal["giou", "ciou"] = "ciou"
    overlap_eps: float = 1e-7
    level_weights: tuple[tuple[float, ...], tuple[float, ...]] = ((4.0, 1.0, 0.3), (4.0, 1.0, 0.3, 0.1, 0.03))
    scaled_by_levels: frozenset[LossTerm] = frozenset({"box", "cls"})
    four_level_objectness: float = 1.0
    gains_by_levels: frozenset[LossTerm] = frozenset({"obj"})
    gains_by_area: bool = True
    mirrored_neighbours: bool = True
    objectness_overlap: float = 1.0
    balances_levels: bool = False

    def weights(self, levels: int) -> tuple[float, ...]:
        """Objectness weight of each of ``levels`` levels.

        Raises:
            ConfigError: the release knows no weights for so many levels.
        """
        known = self.level_weights[0 if levels == len(self.level_weights[0]) else 1]
        if not 0 < levels <= len(known):
            raise ConfigError(
                f"the loss of {self.release} weighs 1 to {len(known)} levels, the model has {levels}"
            )
        return known[:levels]


RULES: dict[str, LossRules] = {
    rules.release: rules
    for rules in (
        LossRules(
            "v1.0",
            box_overlap="giou",
            level_weights=((1.0,) * 3, (1.0,) * 5),
            scaled_by_levels=frozenset(),
            gains_by_levels=frozenset(),
            gains_by_area=False,
            mirrored_neighbours=False,
        ),
        LossRules(
            "v3.1",
            level_weights=((4.0, 1.0, 0.4), (4.0, 1.0, 0.4, 0.1)),
            scaled_by_levels=_ALL_TERMS,
            four_level_objectness=1.4,
            gains_by_levels=frozenset(),
            gains_by_area=False,
        ),
        LossRules("v4.0"),
        LossRules(
            "v7.0",
            level_weights=((4.0, 1.0, 0.4), (4.0, 1.0, 0.25, 0.06, 0.02)),
            scaled_by_levels=frozenset(),
            gains_by_levels=_ALL_TERMS,
        ),
    )
}
"""The rules by release."""


def loss_rules(release: str) -> LossRules:
    """The rules of a release. Raises ConfigError for an unknown one."""
    if release not in RULES:
        raise ConfigError(f"no loss rules are known for release {release!r}", fix=nearest(release, RULES))
    return RULES[release]


@dataclass(frozen=True, slots=True)
class LossGains:
    """Factors of the three terms of the loss."""

    box: float
    obj: float
    cls: float


def plain_gains(hyperparameters: Hyperparameters) -> LossGains:
    """The gains as they are written in the hyperparameters."""
    return LossGains(box=hyperparameters.box, obj=hyperparameters.obj, cls=hyperparameters.cls)


def scaled_gains(
    hyperparameters: Hyperparameters,
    *,
    classes: int,
    size_hw: tuple[int, int],
    levels: int,
    rules: LossRules = RULES["v4.0"],
) -> LossGains:
    """The gains for a model and a frame size (specification training.md section 3).

    Hyperparameters are written for 80 classes, 640 x 640 pixels and three levels: ``cls`` grows with the number
    of classes, but never falls below ``cls_min_scale`` of itself; ``obj`` grows with the area of the frame, likewise
    from ``obj_min_scale``; and the terms in ``rules.gains_by_levels`` shrink with the number of levels.
    """
    gains = {
        "box": hyperparameters.box,
        "obj": hyperparameters.obj,
        "cls": hyperparameters.cls * max(classes / _GAIN_CLASSES, hyperparameters.cls_min_scale),
    }
    if rules.gains_by_area:
        gains["obj"] *= max(size_hw[0] * size_hw[1] / _GAIN_AREA, hyperparameters.obj_min_scale)
    for term in rules.gains_by_levels:
        gains[term] *= _GAIN_LEVELS / levels
    return LossGains(**gains)
