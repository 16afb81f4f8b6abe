"""A disk that fails on demand: the n-th call of a kind that concerns files of one folder.

The calls are counted at the border to the operating system, so whatever vedette does to write a file is counted,
also where no failure was thought of.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CALLS = ("open", "mkdir", "write", "fsync", "replace")
EVERY = -1
SHORT, KILL = "SHORT", "KILL"
"""In place of the name of an error: a write that takes half of the bytes, which is no error; the end of the process."""


class FailingDisk:
    """Counts the calls, and makes one of them fail.

    Args:
        folder: calls that concern files outside of it are not counted.
        call: kind of the call that fails.
        number: which one of its kind, from 1; 0: none, EVERY: all of all kinds.
        code: name of the error (``ENOSPC``), SHORT or KILL.
        tally: file that gets the number of calls of each kind so far, as JSON; "": none.
    """

    def __init__(self, folder: str, call: str, number: int, code: str, tally: str) -> None:
        self.folder = Path(folder).resolve()
        self.call, self.number, self.code, self.tally = call, number, code, tally
        self.counts: Counter[str] = Counter()
        self.files: set[int] = set()

    def concerns(self, path: object) -> bool:
        """Whether a path, or an open file by its number, belongs to the folder."""
        if isinstance(path, int):
            return path in self.files
        return isinstance(path, (str, os.PathLike)) and Path(path).absolute().is_relative_to(self.folder)

    def fails(self, call: str, path: object) -> bool:
        """Count a call; raises OSError if it is the one to fail, returns True if it is to be short."""
        self.counts[call] += 1
        due = self.number == EVERY or (call == self.call and self.counts[call] == self.number)
        if due and self.code == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if due and self.code != SHORT:
            number = getattr(errno, self.code)
            name = None if isinstance(path, int) else str(path)
            raise OSError(number, os.strerror(number), name)
        return due

    def note(self) -> None:
        """Write the numbers of calls."""
        if self.tally:
            Path(self.tally).write_text(json.dumps(self.counts), encoding="utf-8")


def install(
    folder: str,
    call: str = "",
    number: int = 0,
    code: str = "EIO",
    tally: str = "",
    *,
    in_place: bool = False,
) -> None:
    """Put a failing disk under this process, for the rest of its life.

    With ``in_place``, checkpoints are written the careless way: the negative control of the tests.
    """
    disk = FailingDisk(folder, call, number, code, tally)
    if in_place:
        _write_in_place()
    _replace_system_calls(disk)
    original = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if set(mode) & set("wax+") and disk.concerns(file):
            disk.fails("open", file)
        return original(file, mode, *arguments, **named)

    io.open = builtins.open = opened  # type: ignore[assignment]


def _replace_system_calls(disk: FailingDisk) -> None:
    os_open, os_write, os_close, os_replace = os.open, os.write, os.close, os.replace

    def opened(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        ours = disk.concerns(path)
        if ours and flags & (os.O_WRONLY | os.O_RDWR):
            disk.fails("open", path)
        descriptor = os_open(path, flags, *arguments, **named)
        if ours:
            disk.files.add(descriptor)
        return descriptor

    def closed(descriptor: int) -> None:
        disk.files.discard(descriptor)
        os_close(descriptor)

    def written(descriptor: int, data: Any) -> int:
        if disk.concerns(descriptor) and disk.fails("write", descriptor):
            data = memoryview(data)[: max(1, len(data) // 2)]
        return os_write(descriptor, data)

    def replaced(source: Any, destination: Any, **named: Any) -> None:
        if disk.concerns(destination):
            disk.fails("replace", destination)
        os_replace(source, destination, **named)
        disk.note()

    os.open, os.close, os.write, os.replace = opened, closed, written, replaced
    os.fsync = _counted(disk, "fsync", os.fsync)
    os.mkdir = _counted(disk, "mkdir", os.mkdir)


def _write_in_place() -> None:
    from vedette.checkpoint import tensors
    from vedette.checkpoint.atomic import AtomicWriter

    @contextlib.contextmanager
    def careless_file(path: Path, expected_bytes: int) -> Iterator[AtomicWriter]:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            yield AtomicWriter(descriptor)
        finally:
            os.close(descriptor)

    tensors.atomic_file = careless_file


def _counted(disk: FailingDisk, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def call(path: Any, *arguments: Any, **named: Any) -> Any:
        if disk.concerns(path):
            disk.fails(name, path)
        return original(path, *arguments, **named)

    return call


def main() -> int:
    """``python -m tests.flow.faults '{"folder": ...}' train ...``: one command of vedette on a failing disk."""
    from vedette.__main__ import main as run_command

    _, fault, *arguments = sys.argv
    sys.argv = ["vedette", *arguments]
    install(**json.loads(fault))
    return run_command()


if __name__ == "__main__":
    raise SystemExit(main())
