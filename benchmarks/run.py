"""Run every benchmark of this folder, one after the other, as `make bench` does.

All but those that need pictures or checkpoints that are not part of the project: `recipes.py`, which trains for an
hour, `tiling.py`, `ensembles.py` and `export_formats.py`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Returns 1 if one of them failed."""
    failed = []
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name in {Path(__file__).name, "recipes.py", "tiling.py", "ensembles.py", "export_formats.py"}:
            continue
        print(f"\n== {path.name}", flush=True)
        if subprocess.run([sys.executable, str(path)], check=False).returncode:
            failed.append(path.name)
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall ran")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
