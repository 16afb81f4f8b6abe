"""What a file of strangers is known by: the SHA-256 of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vedette.errors import CheckpointError

_READ_BYTES = 1 << 20
_FIX = "name the .pt file that training wrote"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits.

    Raises:
        CheckpointError: there is no such file, it is no regular one (a pipe would wait for ever), or it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if not path.is_file():
            what = "is no regular file" if path.exists() else "no such file"
            raise CheckpointError(what, where=path, fix=_FIX)
        with path.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                digest.update(chunk)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"cannot be read ({reason})", where=path, fix=_FIX) from None
    return digest.hexdigest()
