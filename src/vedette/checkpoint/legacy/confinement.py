"""What a process that reads a stranger's file may still do: little memory, little time, no calls out of it.

The reader runs nothing of a file. This is for the case that it has a fault: then one command ends, and no more.

=============== ======= ======= ===================================================================
limit           Linux   macOS   Windows
=============== ======= ======= ===================================================================
memory          yes     no      no (the limits of the reader itself hold everywhere)
processor time  yes     yes     no (the parent ends the process after a while)
size of files   yes     yes     no
no new modules, yes     yes     yes
processes, code
or connections
=============== ======= ======= ===================================================================
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from vedette.checkpoint.legacy.limits import GIB, MAX_SECONDS, MIB

EXIT_FORBIDDEN = 86
"""Exit code of a process that tried what it may not do."""

FORBIDDEN = (
    "compile",
    "ctypes.",
    "exec",
    "import",
    "marshal.",
    "os.exec",
    "os.fork",
    "os.kill",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.spawn",
    "os.startfile",
    "os.system",
    "pickle.find_class",
    "socket.",
    "subprocess.Popen",
    "urllib.",
)
"""Beginnings of audit events (PEP 578) that reading a file has no use for."""


def limit_resources(file_bytes: int) -> None:
    """Lower this process's limits to what a file of a size can need, where the system has them."""
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = [(resource.RLIMIT_CPU, MAX_SECONDS), (resource.RLIMIT_FSIZE, 4 * file_bytes + 64 * MIB)]
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        # The stored numbers, their copy, both as float32, and the records of a pickle of 64 MB.
        wanted.append((resource.RLIMIT_AS, pages * os.sysconf("SC_PAGE_SIZE") + 6 * file_bytes + 2 * GIB))
    for kind, value in wanted:
        _, hard = resource.getrlimit(kind)
        lowered = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (lowered, hard))


@contextlib.contextmanager
def confined(*readable: Path) -> Iterator[None]:
    """While it lasts, this process ends at once if it opens other files or does what reading never needs.

    Args:
        readable: files that may be opened.
    """
    armed = [True]
    allowed = {os.fspath(path) for path in readable}

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if armed and (event.startswith(FORBIDDEN) or (event == "open" and not _may_open(arguments, allowed))):
            armed.clear()
            os.write(2, f"forbidden while reading: {event} {str(arguments[:1])[:100]}\n".encode())
            os._exit(EXIT_FORBIDDEN)

    sys.addaudithook(watch)  # for good; it does nothing after this block
    try:
        yield
    finally:
        armed.clear()


def _may_open(arguments: tuple[object, ...], allowed: set[str]) -> bool:
    path, mode = (*arguments, None, None)[:2]
    reads = mode is None or (isinstance(mode, str) and not set(mode) & set("wax+"))
    return reads and isinstance(path, str | os.PathLike) and os.fspath(path) in allowed
