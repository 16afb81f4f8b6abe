"""From a file to the backend that runs it: the file's name says which runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vedette.core.device import Precision
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.infer.backends import Backend


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A network ready to run, and what its file says of it.

    Attributes:
        backend: runs the network.
        letterbox: the preprocessing it was trained with.
        class_names: by class id.
        nms: the suppression that is built into the network; None: none is, any settings will do.
    """

    backend: Backend
    letterbox: LetterboxPolicy
    class_names: tuple[str, ...]
    nms: NmsSettings | None = None


def open_file(
    path: Path, *, device: str = "", precision: Precision = "float32", threads: int = 0
) -> OpenedFile:
    """Open a checkpoint or an exported file with its runtime; only that runtime is imported.

    Raises:
        CheckpointError: the file is missing, damaged or foreign.
        UsageError: there is no such device, or it has no such precision.
        MissingExtraError: the runtime is not installed.
    """
    return _open_checkpoint(path, device, precision)


def _open_checkpoint(path: Path, device: str, precision: Precision) -> OpenedFile:
    from vedette.checkpoint.load import load
    from vedette.core.device import select_device
    from vedette.infer.backends.pytorch import TorchBackend

    chosen = select_device(device)
    loaded = load(path)
    return OpenedFile(TorchBackend(loaded.detector, chosen, precision), loaded.letterbox, loaded.class_names)
