"""A record of what vedette wrote on this machine, for what cannot be trusted by reading it.

Exported files that are code, and what runs may send away (:mod:`vedette.train.folder.origin`). One empty file an entry,
named after the SHA-256 of its bytes, in the cache folder. Only the user may be able to write there: whoever else can
could have native code run, and then the record says nothing.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from vedette.checkpoint.atomic import write_error
from vedette.data.cache_folder import CACHE_VARIABLE, cache_folder
from vedette.errors import WriteError

FOLDER = "written-here"


def prepare_record() -> Path:
    """The folder of the record, made if it is not there.

    Raises:
        WriteError: there is no cache folder, or it cannot be written.
    """
    folder = _folder()
    if folder is None:
        raise WriteError(
            "there is no folder for the record of what was written", fix=f"set {CACHE_VARIABLE} to a folder"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(error, folder) from error
    return folder


def record_written(content: bytes) -> None:
    """Remember that vedette wrote a file with these bytes. Raises WriteError."""
    mark = prepare_record() / _name(content)
    try:
        mark.touch(mode=0o600)
    except OSError as error:
        raise write_error(error, mark) from error


def was_written_here(content: bytes) -> bool:
    """Whether this user's vedette wrote a file with these bytes on this machine."""
    folder = _folder()
    return folder is not None and all(map(_is_private, (folder, folder / _name(content))))


def _folder() -> Path | None:
    cache = cache_folder()
    return None if cache is None else cache / FOLDER


def _name(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_private(path: Path) -> bool:
    """Whether it exists, is the user's and cannot be written by others; on Windows: whether it exists."""
    try:
        found = path.stat()
    except OSError:
        return False
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
