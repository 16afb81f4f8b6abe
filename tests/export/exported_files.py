"""A small detector that finds something, and its exported files, each written once for a whole session of tests."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.config.export import ExportConfig
from vedette.core.letterbox import LetterboxPolicy
from vedette.export.run import ExportedFormat, export

NAMES = ("red", "green", "blue")
SIZE_HW = (96, 128)


@dataclass(frozen=True, slots=True)
class ExportedFiles:
    """Writes files into a folder that all test processes share, each once."""

    folder: Path

    @property
    def weights(self) -> Path:
        path = self.folder / "small.safetensors"
        if not path.exists():
            policy = LetterboxPolicy(size_hw=SIZE_HW)
            save_detector(path, lively_detector(), class_names=NAMES, letterbox=policy, metadata={})
        return path

    def export(self, name: str, **options: Any) -> ExportedFormat:
        """Export to a format, each time anew."""
        settings = {"weights": str(self.weights), "formats": (name,), **options}
        (result,) = export(ExportConfig.parse(settings)).formats
        return result

    def path(self, name: str, **options: Any) -> Path:
        """A file that came out well; the same options give the same file."""
        key = hashlib.sha256(repr((name, sorted(options.items()))).encode()).hexdigest()[:16]
        shared = self.folder / key
        if not shared.exists():
            made = Path(tempfile.mkdtemp(dir=self.folder))
            result = self.export(name, output=str(made), **options)
            assert result.succeeded, (result.error, result.verification)
            with contextlib.suppress(OSError):  # another process was faster
                made.rename(shared)
        (file,) = (path for path in shared.iterdir() if not path.name.endswith(".json"))
        return file

    def copy(self, name: str, folder: Path, **options: Any) -> Path:
        """A copy of the file to be spoilt."""
        source = self.path(name, **options)
        target = folder / source.name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
        return target


def pictures(count: int = 3) -> list[np.ndarray]:
    """Coloured clouds of several sizes, in which a lively detector finds something."""
    random = np.random.default_rng(7)
    sizes = [(90, 120), (120, 90), (200, 160), (64, 64)]
    return [
        cv2.resize(random.integers(0, 256, (6, 8, 3), dtype=np.uint8), sizes[number % 4][::-1])
        for number in range(count)
    ]
