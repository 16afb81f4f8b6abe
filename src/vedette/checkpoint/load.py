"""Any checkpoint to a detector: the one door for everything that takes ``--weights``."""

from __future__ import annotations

from pathlib import Path

from vedette.checkpoint.deployable import LoadedDetector, load_detector
from vedette.checkpoint.legacy.convert import load_converted
from vedette.checkpoint.shipped import shipped_file

LEGACY_SUFFIXES = (".pt", ".pth")


def load(path: Path) -> LoadedDetector:
    """Read a checkpoint of vedette, or one of YOLOv5 v1.0 to v7.0, or shipped weights by their name.

    A YOLOv5 file is imported on the way, in a process of its own that executes nothing of it, and kept in the cache
    folder; ``vedette import`` writes it to a file of your choice and says what it holds.

    Raises:
        CheckpointError: the file is missing, damaged, or nothing that vedette reads.
    """
    path = Path(path)
    if path.suffix.lower() in LEGACY_SUFFIXES:
        return load_converted(path)
    if not path.exists():
        path = shipped_file(str(path)) or path
    return load_detector(path)
