"""One process at a time in a run folder.

The lock is one of the operating system on the file ``run.lock``: it ends with the process that holds it, however that
process ends, so there is no stale lock that somebody would have to remove. The file says who holds it; between runs it
is empty. It is never deleted, since whoever had it open at that moment could lock a file that is no longer there.

Limits: on a network file system the lock holds between machines only where its server keeps locks (NFS 4 and SMB do;
after the holder's machine lost its power they give the lock free a minute or two later). Where a file system keeps no
locks at all, nothing keeps a second run out, and the caller is told so. A lock keeps other processes out, not other
threads of the same one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vedette.errors import UsageError, WriteError

LOCK_NAME = "run.lock"
_LOCKED_BYTE = 1 << 20
"""Far behind the text: on Windows a locked byte cannot be read by others."""
_MAX_TEXT = 4096
_UNSUPPORTED = frozenset(
    getattr(errno, name)
    for name in ("ENOLCK", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL")
    if hasattr(errno, name)
)


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[bool]:
    """Keep every other process out of the run in ``folder`` while in the block.

    Yields:
        True; False where the file system keeps no locks, so that a second run would not be noticed.

    Raises:
        UsageError: another process holds the lock; its number and machine are named.
        WriteError: the folder cannot be written.
    """
    path = folder / LOCK_NAME
    descriptor = _opened(path)
    try:
        locked = _locked(descriptor, path)
        # The text is for people; the lock holds without it.
        with contextlib.suppress(OSError):
            _replace_text(descriptor, json.dumps(_this_process()) + "\n")
        try:
            yield locked
        finally:
            with contextlib.suppress(OSError):
                _release(descriptor)
    finally:
        # A lock of this kind ends when its process closes any descriptor of the file: no other place opens it.
        os.close(descriptor)


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise WriteError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            fix="a run needs a folder it can write to: look at the permissions, or give another --project",
        ) from None


def _locked(descriptor: int, path: Path) -> bool:
    try:
        _lock_byte(descriptor)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        holder = _described(_text_of(descriptor))
        raise UsageError(
            f"is in use: {holder} trains in this folder",
            where=path.parent,
            fix="wait until it is done or stop it; a new run can have another --name",
        ) from None
    return True


def _lock_byte(descriptor: int) -> None:
    """Lock one byte of the file, or raise OSError at once if another process has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        # Not flock: child processes would inherit that, and outlive a killed run with it.
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _LOCKED_BYTE)


def _release(descriptor: int) -> None:
    _replace_text(descriptor, "")
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _replace_text(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, text.encode())


def _text_of(descriptor: int) -> bytes:
    with contextlib.suppress(OSError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        return os.read(descriptor, _MAX_TEXT)
    return b""


def _described(text: bytes) -> str:
    try:
        holder = json.loads(text)
        return f"process {int(holder['pid'])} on {holder['host']} (since {holder['started']})"
    except (ValueError, TypeError, KeyError):
        return "another process"
