"""A folder of numbered, checksummed states: the newest that is intact is the one to go on from."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vedette.checkpoint.atomic import remove_stale_temporaries, sync_folder
from vedette.checkpoint.tensors import read_tensors, write_tensors
from vedette.errors import CheckpointError, WriteError

KEPT_STATES = 2
_FILE_NAME = re.compile(r"state-([0-9]{12})\.safetensors", re.ASCII)


@dataclass(frozen=True, slots=True)
class SavedState:
    """One state read back.

    Attributes:
        step: the number it was saved under.
        tensors: by name, on the CPU.
        metadata: as saved.
        skipped: newer files that could not be used, each with the reason; say so to the user.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    skipped: tuple[tuple[Path, str], ...]


class StateFolder:
    """Keeps the last two states of a run, so that one damaged file never costs the run.

    Only one process may write to the folder at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def save(
        self,
        step: int,
        tensors: Mapping[str, torch.Tensor],
        metadata: Mapping[str, Any],
        *,
        allow_nonfinite: bool = False,
    ) -> Path:
        """Write the state of ``step``; only then delete what it supersedes.

        Superseded are the states older than the last two, and those of later steps: they are damaged, or belong
        to a run that was taken up again from an earlier state. Temporary files of killed writers are removed.

        Returns:
            The file that was written.

        Raises:
            CheckpointError: a tensor or the metadata cannot be stored.
            WriteError: the file could not be written; all earlier states are still there.
        """
        if not 0 <= step < 10**12:
            raise CheckpointError(f"step {step} is out of range", where=self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot be created ({error.strerror})", where=self.path) from error
        remove_stale_temporaries(self.path)
        path = self.path / f"state-{step:012d}.safetensors"
        content = {"step": step, "metadata": dict(metadata)}
        write_tensors(path, tensors, content, allow_nonfinite=allow_nonfinite)
        self._delete_superseded(step)
        return path

    def load_latest(self) -> SavedState | None:
        """The newest intact state, or None if the folder holds no state at all.

        Raises:
            CheckpointError: there are states, but none is intact; the reasons are listed.
        """
        skipped: list[tuple[Path, str]] = []
        for step, path in sorted(self._states(), reverse=True):
            try:
                tensors, content = read_tensors(path)
                metadata = _checked_content(path, step, content)
            except CheckpointError as error:
                skipped.append((path, error.what))
                continue
            return SavedState(step, tensors, metadata, tuple(skipped))
        if skipped:
            reasons = "; ".join(f"{path.name}: {reason}" for path, reason in skipped[:5])
            raise CheckpointError(
                f"no saved state is intact ({reasons})", where=self.path, fix="start the run again"
            )
        return None

    def _states(self) -> list[tuple[int, Path]]:
        if not self.path.is_dir():
            return []
        found = ((_FILE_NAME.fullmatch(path.name), path) for path in self.path.iterdir())
        return [(int(match.group(1)), path) for match, path in found if match]

    def _delete_superseded(self, step: int) -> None:
        states = sorted(self._states(), reverse=True)
        earlier = [path for number, path in states if number <= step]
        superseded = [path for number, path in states if number > step] + earlier[KEPT_STATES:]
        for path in superseded:
            # A file that resists deletion costs room, never the run.
            with contextlib.suppress(OSError):
                path.unlink()
        if superseded:
            with contextlib.suppress(OSError):
                sync_folder(self.path)


def _checked_content(path: Path, step: int, content: Mapping[str, Any]) -> dict[str, Any]:
    metadata = content.get("metadata")
    if content.get("step") != step or not isinstance(metadata, dict):
        raise CheckpointError("its contents belong to another step", where=path)
    return metadata
