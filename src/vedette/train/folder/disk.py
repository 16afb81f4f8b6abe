"""The disk under a run: room for its checkpoints before it starts, and words for every failed write."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vedette.checkpoint.atomic import free_bytes, write_error
from vedette.checkpoint.state_folder import KEPT_STATES
from vedette.errors import WriteError
from vedette.train.events import Emitter
from vedette.train.folder.run_files import RunFiles
from vedette.train.state import TrainState

if TYPE_CHECKING:
    from vedette.train.setup import Setup

_PICTURE_BYTES = 20_000_000
"""Plots, report and tables of a run, generously."""

_SICK_DISK = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES", "EPERM", "EFBIG")
    if hasattr(errno, name)
)


def check_disk_space(setup: Setup, emitter: Emitter) -> None:
    """Refuse a run whose checkpoints have no room; warn about one that may run out of it.

    Raises:
        WriteError: with the megabytes that are needed and those that are free.
    """
    files, config = setup.files, setup.config
    free = free_bytes(files.folder)
    if free is None:
        return
    weights = _bytes_of(setup.state.model.state_dict())
    needed = _missing_bytes(state_bytes(setup.state), weights, files)
    if free < needed:
        raise WriteError(
            f"too little room for the checkpoints of this run: {needed / 1e6:.1f} MB needed, "
            f"{free / 1e6:.1f} MB free",
            where=files.folder,
            fix="make room, or give a --project on another disk",
        )
    kept = config.epochs // config.save_period if config.save_period > 0 else 0
    wanted = needed + kept * weights + _PICTURE_BYTES
    if free < wanted:
        emitter.note(
            f"{files.folder}: the disk may become full: the run can need {wanted / 1e6:.0f} MB, "
            f"{free / 1e6:.0f} MB are free",
            "warning",
        )


def state_bytes(state: TrainState) -> int:
    """About how long a file of the run's state becomes, once the optimizer has its memory."""
    # Momentum is one number a parameter; Adam and its kin keep two means.
    kept = 1 if isinstance(state.optimizer, torch.optim.SGD) else 2
    parameters = dict(state.model.named_parameters())
    tensors = (state.model.state_dict(), state.average.state(), *[parameters] * kept)
    return sum(_bytes_of(part) for part in tensors)


def _missing_bytes(state: int, weights: int, files: RunFiles) -> int:
    """What the checkpoints need beyond the room that those of an earlier part of the run already take.

    Each file is written beside the one it replaces: that makes one state and one set of weights more.
    """
    peak = (KEPT_STATES + 1) * state + 3 * weights
    present = sum(_file_sizes([*files.state.glob("*.safetensors"), files.last, files.best]))
    return max(peak - present, state + weights)


def _bytes_of(tensors: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _file_sizes(paths: Iterable[Path]) -> Iterator[int]:
    for path in paths:
        with contextlib.suppress(OSError):
            yield path.stat().st_size


@contextlib.contextmanager
def named_write_errors(folder: Path) -> Iterator[None]:
    """Turn every failed write of a run into a WriteError that names the file, and say how the run goes on.

    Raises:
        WriteError: in place of an OSError about a file of ``folder``, or of a disk that is full or broken.
    """
    try:
        yield
    except WriteError as error:
        raise _resumable(error, folder) from error
    except OSError as error:
        path = Path(error.filename) if isinstance(error.filename, str) else folder
        # A picture of the data set that cannot be read is another matter.
        if error.errno not in _SICK_DISK or not path.absolute().is_relative_to(folder.absolute()):
            raise
        raise _resumable(write_error(error, path), folder) from error


def _resumable(error: WriteError, folder: Path) -> WriteError:
    """The same error, with the command that goes on if there is a state to go on from."""
    if not any(folder.glob("state/state-*.safetensors")):
        return error
    command = f"vedette train --resume {folder.as_posix()}"
    return WriteError(error.what, where=error.where, fix=f"{error.fix}; then go on with: {command}")
