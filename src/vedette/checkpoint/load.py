"""Any checkpoint to a detector: the one door for everything that takes ``--weights``."""

from __future__ import annotations

from pathlib import Path

from vedette.checkpoint.deployable import LoadedDetector, load_detector
from vedette.checkpoint.legacy.convert import load_converted
from vedette.checkpoint.shipped import shipped_file, shipped_names
from vedette.errors import CheckpointError

LEGACY_SUFFIXES = (".pt", ".pth")


def load(path: Path) -> LoadedDetector:
    """Read a checkpoint of vedette, or one of YOLOv5 v1.0 to v7.0, or shipped weights by their name.

    A YOLOv5 file is imported on the way, in a process of its own that executes nothing of it, and kept in the cache
    folder; ``vedette import`` writes it to a file of your choice and says what it holds.

    Raises:
        CheckpointError: the file is missing, damaged, or nothing that vedette reads.
    """
    path = Path(path)
    if not path.exists():
        return load_detector(_shipped(path))
    return load_converted(path) if path.suffix.lower() in LEGACY_SUFFIXES else load_detector(path)


def _shipped(path: Path) -> Path:
    shipped = shipped_file(str(path))
    if shipped is None:
        names = ", ".join(shipped_names())
        raise CheckpointError(
            "no such file",
            where=path,
            fix=f"check the path; vedette downloads nothing, and the weights that come with it are {names}",
        )
    return shipped
