"""A checkpoint of YOLOv5 from file to :class:`LegacyCheckpoint`. Nothing in it is executed; see ``docs/import.md``.

The steps: which container (:mod:`.container_zip`, :mod:`.container_stream`) → its pickle as inert records
(:mod:`.opcodes`) → names, modules and settings (:mod:`.meaning`) → tensors (:mod:`.tensors`), which must be those of
our detector (:mod:`.agreement`, :mod:`.fitting`).
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from vedette.checkpoint.legacy.container_stream import MAGIC as STREAM_MAGIC
from vedette.checkpoint.legacy.container_stream import StreamContainer
from vedette.checkpoint.legacy.container_zip import MAGIC as ZIP_MAGIC
from vedette.checkpoint.legacy.container_zip import ZipContainer
from vedette.checkpoint.legacy.foreign import HEAD_BYTES, refuse_foreign
from vedette.checkpoint.legacy.limits import MAX_FILE_BYTES
from vedette.checkpoint.legacy.meaning import LegacyCheckpoint, understand
from vedette.checkpoint.legacy.tensors import TensorReader
from vedette.core.printable import printable
from vedette.errors import CheckpointError
from vedette.model.rows import Architecture

_FIX = "docs/import.md lists what is read"


def read_legacy(
    path: Path, *, table: Architecture | None = None, allow_nonfinite: bool = False
) -> LegacyCheckpoint:
    """Read a ``.pt`` file of YOLOv5 v1.0 to v7.0.

    Args:
        path: the file.
        table: the model of a file that holds tensors only, but for classes and anchors; None to find it.
        allow_nonfinite: accept weights that are NaN or infinite.

    Raises:
        CheckpointError: the file is missing, foreign, damaged, hostile, or holds something vedette does not have;
            ``where`` is the file and the place in it.
    """
    path = Path(path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("is no regular file", where=path, fix=_FIX)
        with path.open("rb") as file:
            return read_open(
                file,
                status.st_size,
                where=str(path),
                name=path.stem,
                table=table,
                allow_nonfinite=allow_nonfinite,
            )
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror or error})", where=path, fix=_FIX) from None


def read_open(
    file: BinaryIO,
    size: int,
    *,
    where: str,
    name: str = "imported",
    table: Architecture | None = None,
    allow_nonfinite: bool = False,
) -> LegacyCheckpoint:
    """As :func:`read_legacy`, from an open file of ``size`` bytes; ``where`` and ``name`` are what to call it."""
    try:
        container = _container(file, size)
        root = container.read()
        tensors = TensorReader(container.storage_bytes, budget=size)
        found = understand(root, tensors, name=name, table=table, allow_nonfinite=allow_nonfinite)
    except CheckpointError as error:
        place = f"{where}: {error.where}" if error.where else where
        # Names and keys of a stranger are quoted; none may steer the terminal that shows them.
        fix = error.fix or _FIX
        raise CheckpointError(printable(error.what), where=printable(place), fix=fix) from None
    except (MemoryError, RecursionError):
        raise CheckpointError("does not fit into memory", where=where, fix=_FIX) from None
    found.facts["container"] = container.layout
    return found


def _container(file: BinaryIO, size: int) -> ZipContainer | StreamContainer:
    if size > MAX_FILE_BYTES:
        raise CheckpointError(f"has {size} bytes, more than {MAX_FILE_BYTES}")
    head = file.read(HEAD_BYTES)
    if head.startswith(ZIP_MAGIC):
        return ZipContainer(file, size)
    if head.startswith(STREAM_MAGIC):
        return StreamContainer(file, size)
    refuse_foreign(head, size)
    raise AssertionError("a foreign file is refused")
