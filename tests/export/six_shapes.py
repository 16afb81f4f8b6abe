"""Batches of 1, 2 and 7 frames of two sizes: exported and verified as by a user, each gives what PyTorch gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.export import small
from vedette.checkpoint.deployable import save_detector
from vedette.config.export import ExportConfig
from vedette.export.run import ExportedFormat, export
from vedette.infer.backends.files import open_file
from vedette.model.detector import Detector

SIZES = ((640, 640), (640, 384))
SHAPES = tuple((batch, *size_hw) for size_hw in SIZES for batch in (1, 2, 7))
"""(batch, height, width)."""

TOLERANCE = 0.5
"""Greatest difference of decoded predictions in another order of additions, in pixels: five times what was measured.
At this size the network sees more, and multiplies more last digits, than at that of the other tests."""


def exported(name: str, made: Detector, folder: Path, **options: Any) -> ExportedFormat:
    """What `vedette export` makes of a detector.

    Raises:
        UsageError: the format cannot do it; the folder is as it was, but for the checkpoint.
    """
    weights = folder / "small.safetensors"
    letterbox = small.letterbox(made, (64, 64))
    save_detector(weights, made, class_names=small.NAMES, letterbox=letterbox, metadata={})
    (result,) = export(ExportConfig.parse({"weights": str(weights), "formats": (name,), **options})).formats
    assert result.succeeded, result.error
    assert result.path is not None
    return result


def fixed_file_differs(name: str, made: Detector, shape: tuple[int, int, int], folder: Path) -> float:
    """Greatest difference of a file for one shape from PyTorch; see :func:`tests.export.small.differences`."""
    batch, *size_hw = shape
    path = exported(name, made, folder, batch_size=batch, image_size=tuple(size_hw)).path
    assert path is not None
    backend = open_file(path).backend
    assert (backend.batch_size, backend.frame_hw) == (batch, tuple(size_hw))
    return small.greatest_difference(backend, made, shape)


def open_file_differs(name: str, made: Detector, folder: Path, dynamic: str) -> dict[Any, float]:
    """The same of a file for all six shapes, or of one for all batches of each size."""
    found = {}
    for size_hw in SIZES:
        place = folder / "x".join(map(str, size_hw))
        if dynamic == "batch" or not found:
            place.mkdir()
            result = exported(name, made, place, image_size=size_hw, dynamic=dynamic)
            backend = open_file(result.path).backend
        for shape in SHAPES:
            if shape[1:] == size_hw:
                found[shape] = small.greatest_difference(backend, made, shape)
    return found
