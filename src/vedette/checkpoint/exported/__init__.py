"""Exported files, read and checked before any runtime sees them: one module a kind of file, none needs its runtime.

What is checked is what is run: every reader returns the bytes it looked at, and the runtime gets these bytes, not the
path again.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from vedette.checkpoint.contract import ExportContract
from vedette.errors import CheckpointError

_FIX = "export the checkpoint with `vedette export`"

MAX_FILE_BYTES = 2 * 1024**3
"""Of one file; the formats themselves end near it."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """An exported file as it was read.

    Attributes:
        contract: what it says of itself.
        parts: its bytes by role: "model", and "weights" where they are apart.
    """

    contract: ExportContract
    parts: dict[str, bytes]


def read_bounded(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
        CheckpointError: there is none, it is too large, or it cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError("is no regular file", where=path, fix=_FIX)
        if found.st_size > max_bytes:
            raise CheckpointError(f"has {found.st_size} bytes, more than {max_bytes}", where=path, fix=_FIX)
        with path.open("rb") as file:
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror or error})", where=path, fix=_FIX) from None
    if len(raw) > max_bytes:
        raise CheckpointError(f"has more than {max_bytes} bytes", where=path, fix=_FIX)
    return raw


def contract_of(text: str | bytes | None, path: Path, names: tuple[str, ...]) -> ExportContract:
    """The contract found in a file of one of the formats ``names``.

    Raises:
        CheckpointError: there is none, it is not as it must be, or belongs to a file of another format.
    """
    if text is None:
        raise CheckpointError(
            "says nothing of class names and preprocessing: it was not exported by vedette",
            where=path,
            fix="export its checkpoint with `vedette export`",
        )
    contract = ExportContract.from_json(text, path)
    if contract.format not in names:
        raise CheckpointError(f"its metadata belongs to a file of format {contract.format!r:.40}", where=path)
    return contract
