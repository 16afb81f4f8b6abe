"""Where hub models take their weights from. The only place that looks for files; nothing is ever downloaded."""

from __future__ import annotations

from pathlib import Path

from vedette.checkpoint.deployable import LoadedDetector
from vedette.checkpoint.load import load
from vedette.checkpoint.shipped import DEFAULT
from vedette.errors import CheckpointError

_SUFFIXES = (".pt", ".safetensors")


def read_weights(path: str | Path) -> LoadedDetector:
    """A detector from a file: vedette's own or a published ``.pt``. Raises CheckpointError."""
    return load(Path(path))


def find_weights(name: str) -> Path:
    """The file of a published model: ``NAME.pt`` or ``NAME.safetensors`` in the current folder.

    The weights that ship with the package are no answer: they know other classes than the published ones.

    Raises:
        CheckpointError: there is none; says how to give one.
    """
    for suffix in _SUFFIXES:
        path = Path(f"{name}{suffix}")
        if path.is_file():
            return path
    raise CheckpointError(
        "vedette ships none of these weights and downloads nothing",
        where=f"{name}, pretrained=True",
        fix=f"put {name}.pt into the current folder, give pretrained='path/to/file' or "
        f"custom(path='path/to/file'), use the shipped custom(path='{DEFAULT}'), or start from random weights "
        "with pretrained=False",
    )
