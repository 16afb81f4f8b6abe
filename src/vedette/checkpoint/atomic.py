"""Files that appear whole or not at all.

The bytes go to a temporary file in the same folder, which is flushed to the disk, renamed over the old file, and
made durable by flushing the folder. Whatever fails in between, the old file is still there and loads.

Every call that can fail on a sick disk is a function of this module (:func:`create_file`, :func:`write_bytes`,
:func:`sync_file`, :func:`replace_file`, :func:`sync_folder`), so that tests can make each one fail in turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from vedette.errors import WriteError

TEMPORARY_SUFFIX = ".vedette-tmp"
_BYTES_PER_CALL = 64 * 1024 * 1024


def _known_codes(*names: str) -> frozenset[int]:
    """Error numbers by name; not every system has every one."""
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_FOLDER_SYNC_UNSUPPORTED = _known_codes("EINVAL", "EACCES", "EPERM", "ENOTSUP", "EOPNOTSUPP", "EBADF")
_DISK_FULL = _known_codes("ENOSPC", "EDQUOT")


def create_file(path: Path) -> int:
    """Open a new file for writing and return its descriptor. Raises OSError, also if the file exists."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0)
    return os.open(path, flags, 0o666)


def write_bytes(descriptor: int, data: memoryview) -> int:
    """Write a part of ``data`` (one dimension, bytes) and return how many bytes went out. Raises OSError."""
    return os.write(descriptor, data)


def sync_file(descriptor: int) -> None:
    """Wait until the file's bytes are on the disk. Raises OSError."""
    if sys.platform == "darwin":
        import fcntl

        # fsync on macOS stops at the drive's cache; F_FULLFSYNC does not, but not every file system knows it.
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def replace_file(source: Path, destination: Path) -> None:
    """Rename, over an existing file too, in one step. Raises OSError."""
    os.replace(source, destination)  # noqa: PTH105 - named after what it does on every platform


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable, where the system can flush a folder. Raises OSError."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_UNSUPPORTED:
            raise
    finally:
        os.close(descriptor)


class AtomicWriter:
    """Receives the bytes of a file that :func:`atomic_file` is about to put in place."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data``. Raises OSError."""
        view = memoryview(data)
        while view.nbytes:
            written = write_bytes(self._descriptor, view[:_BYTES_PER_CALL])
            if written <= 0:
                raise OSError(errno.EIO, "the system accepted no bytes")
            view = view[written:]


@contextlib.contextmanager
def atomic_file(path: Path, expected_bytes: int) -> Iterator[AtomicWriter]:
    """Write a file piece by piece; it takes its place when the ``with`` block ends without an error.

    Args:
        path: the file to create or replace; its folder must exist.
        expected_bytes: about how long the file will be; less free space is refused before anything is written.

    Raises:
        WriteError: the file could not be written; the previous one, if any, is untouched. The exception is a
            failure of the very last step (flushing the folder), after which the new file is already in place.
    """
    path = Path(path)
    free = free_bytes(path.parent)
    if free is not None and free < expected_bytes:
        raise _disk_full(path, expected_bytes, free)
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(8)}{TEMPORARY_SUFFIX}"
    try:
        with _written_then_renamed(temporary, path) as writer:
            yield writer
    except OSError as error:
        _remove_quietly(temporary)
        raise write_error(error, path, expected_bytes) from error
    except BaseException:
        _remove_quietly(temporary)
        raise


@contextlib.contextmanager
def _written_then_renamed(temporary: Path, path: Path) -> Iterator[AtomicWriter]:
    descriptor = create_file(temporary)
    try:
        yield AtomicWriter(descriptor)
        sync_file(descriptor)
    finally:
        os.close(descriptor)
    replace_file(temporary, path)
    sync_folder(path.parent)


def write_atomic(path: Path, data: bytes) -> None:
    """Create or replace a file with ``data``, whole or not at all. Raises WriteError."""
    with atomic_file(Path(path), len(data)) as writer:
        writer.write(data)


def remove_stale_temporaries(folder: Path) -> list[Path]:
    """Delete what killed writers left in ``folder``; only for a folder that no other process writes to now.

    Returns:
        The files that were removed. A file that cannot be removed is left alone.
    """
    removed = []
    for path in sorted(Path(folder).glob(f".*{TEMPORARY_SUFFIX}")):
        with contextlib.suppress(OSError):
            path.unlink()
            removed.append(path)
    return removed


def _remove_quietly(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def free_bytes(folder: Path) -> int | None:
    """Bytes that can still be written to the disk of ``folder``; None where the system does not say."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total > 0 else None


def write_error(error: OSError, path: Path, needed: int | None = None) -> WriteError:
    """Say in words what the system answered to writing ``path``, of which ``needed`` bytes were to be written."""
    if error.errno in _DISK_FULL:
        return _disk_full(path, needed, free_bytes(path.parent))
    if isinstance(error, FileNotFoundError):
        return WriteError(
            "cannot be written (its folder does not exist)", where=path, fix="create the folder"
        )
    reason = error.strerror or str(error)
    return WriteError(f"cannot be written ({reason})", where=path, fix="check the disk and the permissions")


def _disk_full(path: Path, needed: int | None, free: int | None) -> WriteError:
    numbers = [] if needed is None else [f"{needed / 1e6:.1f} MB needed"]
    numbers += ["an unknown amount free" if free is None else f"{free / 1e6:.1f} MB free"]
    return WriteError(
        f"disk full: {', '.join(numbers)}",
        where=path,
        fix="make room and try again; the previous file is kept",
    )
