"""How much memory and shared memory is free, as far as the system tells."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_CGROUP_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def available_memory() -> int | None:
    """Bytes that can be taken without swapping, a container's limit included; None if the system does not say."""
    known = [size for size in (_system_memory(), _container_memory()) if size is not None]
    return min(known, default=None)


def available_shared_memory() -> int | None:
    """Bytes left for memory that processes share; None where it is not limited apart from memory."""
    folder = Path("/dev/shm")
    try:
        return shutil.disk_usage(folder).free if folder.is_dir() else None
    except OSError:
        return None


def _system_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _container_memory() -> int | None:
    for limit, usage in _CGROUP_LIMITS:
        try:
            return max(int(limit.read_text(encoding="ascii")) - int(usage.read_text(encoding="ascii")), 0)
        except (OSError, ValueError):  # no such controller, or "max"
            continue
    return None
