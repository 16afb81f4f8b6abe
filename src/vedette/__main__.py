"""``python -m vedette`` and the ``vedette`` command."""

from __future__ import annotations

import os

from vedette.cli.app import main as run_command


def main() -> int:
    """Run one command in a process of its own and return its exit code."""
    # Threads that wait for each other give their core away early: beside any other busy process, spinning makes a
    # training step several times slower (decision 5).
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    return run_command()


if __name__ == "__main__":
    raise SystemExit(main())
