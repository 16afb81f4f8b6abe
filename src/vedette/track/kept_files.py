"""Versions of files that a slow reader still needs, while the writer goes on replacing them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path


class KeptFiles:
    """Keeps a file as it is now under a name of its own.

    Checkpoints are replaced as a whole (a new file is renamed over the old one), so a hard link to the old one
    keeps its content and costs nothing. Where a file system has no hard links, the file is copied.

    Args:
        folder: where the names are kept; on the file system of the files. Made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, path: Path) -> Path:
        """Another name for the content that ``path`` has now. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = self._folder / f"{secrets.token_hex(6)}-{path.name}"
        try:
            os.link(path, kept)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(path, kept)
        return kept

    def release(self, kept: Path) -> None:
        """Give a name up."""
        with contextlib.suppress(OSError):
            kept.unlink()

    def clear(self) -> None:
        """Remove what a killed process left."""
        for path in self._folder.glob("*-*"):
            self.release(path)
