"""A small checkpoint for programs that time it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.model.detector import build_detector


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "small.safetensors"
    detector = build_detector("tiny", classes=2, seed=3)
    letterbox = LetterboxPolicy(size_hw=(64, 96))
    save_detector(path, detector, class_names=("a", "b"), letterbox=letterbox, metadata={})
    return path
