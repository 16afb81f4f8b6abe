"""A hub model that answers at once: tiny, untrained, with a threshold that lets many boxes pass."""

from __future__ import annotations

import numpy as np

from tests.model.lively import lively_detector
from vedette.hub.autoshape import AutoShape
from vedette.hub.model import HubModel

NAMES = ("red", "blue")


def small_model(conf: float = 0.2, name: str = "tiny") -> AutoShape:
    model = AutoShape(HubModel(lively_detector(name, classes=2), NAMES))
    model.conf = conf
    return model


def noise(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    random = np.random.default_rng(4)
    return [random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
