"""What a run ran on, read from files and libraries: no program is started, no environment variable is read."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import socket
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from vedette.core.device import cpu_has_bf16

_MAX_TEXT = 1_000_000
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide the bits of a result."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
    }


def describe_machine() -> dict[str, Any]:
    """Name, system, processor and GPUs with their driver; what the system does not tell is None or missing."""
    return {
        "host": socket.gethostname(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "cpu_bf16": cpu_has_bf16(),
        "gpus": _gpu_names(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,  # type: ignore[no-untyped-call]
        "driver": nvidia_driver(_text(Path("/proc/driver/nvidia/version"))),
    }


def cpu_model() -> str:
    """Name of the processor on Linux and Windows; elsewhere, and where that is not known, its family."""
    named = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    if named:
        return named[1].strip()
    return _windows_cpu_model() or platform.machine()


def _windows_cpu_model() -> str:
    if sys.platform == "win32":
        import winreg

        place = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with (
            contextlib.suppress(OSError),
            winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key,
        ):
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
    return ""


def nvidia_driver(text: str) -> str | None:
    """The driver's version in what Linux says about it ("NVRM version: NVIDIA ... 550.54.15  Tue ...")."""
    found = re.search(r"NVRM version:.*?\b(\d{3,4}(?:\.\d+)+)\b", text)
    return found[1] if found else None


def git_commit(directory: Path) -> dict[str, str] | None:
    """The checkout that ``directory`` lies in: its folder, branch ("" if detached) and commit.

    Whether files differ from the commit is not looked at: that would take running git.
    """
    for folder in (directory, *directory.parents):
        marker = folder / ".git"
        if marker.exists():
            return _checkout(folder, marker)
    return None


def _checkout(folder: Path, marker: Path) -> dict[str, str] | None:
    # In a second worktree and in a submodule `.git` is a file that names the real place.
    link = re.fullmatch(r"gitdir: (.+)", _text(marker).strip()) if marker.is_file() else None
    private = folder / link[1] if link else marker
    shared = private / (_text(private / "commondir").strip() or ".")
    head = _text(private / "HEAD").strip()
    if _COMMIT.fullmatch(head):
        return {"folder": str(folder), "branch": "", "commit": head}
    branch = head.removeprefix("ref: ")
    if branch == head or not re.fullmatch(r"refs/[^\0]+", branch) or ".." in branch:
        return None
    commit = _text(shared / branch).strip() or _packed(_text(shared / "packed-refs"), branch)
    if not _COMMIT.fullmatch(commit):
        return None
    return {"folder": str(folder), "branch": branch.removeprefix("refs/heads/"), "commit": commit}


def _packed(references: str, branch: str) -> str:
    for line in references.splitlines():
        commit, _, name = line.partition(" ")
        if name == branch:
            return commit
    return ""


def _gpu_names() -> list[str]:
    if torch.cuda.is_available():
        return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return ["Apple GPU"] if torch.backends.mps.is_available() else []


def _text(path: Path) -> str:
    """The beginning of a text file; "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""
