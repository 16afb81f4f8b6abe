"""The process that is timed from its start: opens a file, detects in one picture, and tells what memory it took.

Its arguments are ``FILE PICTURE PRECISION DEVICE HOW [HEIGHT WIDTH]``; HOW is "compile" or empty. It prints
``boxes N`` as soon as it has them, then the most memory it held in 10^6 bytes, or nothing where the system does not
say.
"""

from __future__ import annotations

import importlib
import platform
import re
import sys
from pathlib import Path

from vedette.data.images import read_image
from vedette.infer.load import load


def main(arguments: list[str]) -> int:
    """Run as described above; returns the exit code."""
    file, picture, precision, device, how, *size = arguments
    predictor = load(
        file,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # what is none is refused
        compile=how == "compile",
        image_size=(int(size[0]), int(size[1])) if size else None,
    )
    found = predictor.predict([read_image(Path(picture))])[0]
    sys.stdout.write(f"boxes {len(found)}\n")
    sys.stdout.flush()
    peak = peak_megabytes()
    sys.stdout.write("" if peak is None else f"{peak:.1f}\n")
    return 0


def peak_megabytes() -> float | None:
    """Most memory that this process held, in 10^6 bytes; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not the maximum of getrusage: Linux lets that begin with what the parent held when it started this process.
        found = re.search(
            r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE
        )
        return int(found[1]) * 1024 / 1e6 if found else None
    if platform.system() != "Darwin":
        return None
    resource = importlib.import_module("resource")  # not on Windows
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e6
