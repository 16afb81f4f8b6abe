"""vedette: train, measure, run and serve YOLOv5-family object detectors.

The names below are imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vedette.core.letterbox import LetterboxPolicy
    from vedette.core.nms import NmsSettings
    from vedette.core.types import Detections
    from vedette.data.images import read_image
    from vedette.errors import VedetteError
    from vedette.infer.load import load
    from vedette.infer.predictor import Predictor

__all__ = [
    "Detections",
    "LetterboxPolicy",
    "NmsSettings",
    "Predictor",
    "VedetteError",
    "load",
    "read_image",
]

_HOMES = {
    "Detections": "vedette.core.types",
    "LetterboxPolicy": "vedette.core.letterbox",
    "NmsSettings": "vedette.core.nms",
    "Predictor": "vedette.infer.predictor",
    "VedetteError": "vedette.errors",
    "load": "vedette.infer.load",
    "read_image": "vedette.data.images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vedette' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
