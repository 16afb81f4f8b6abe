"""Which run of a tracker's a run folder belongs to, so that a resumed run continues it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path


def tracking_folder(run_folder: Path) -> Path:
    """Where trackers keep their files in a run folder."""
    return run_folder / "tracking"


def read_identity(path: Path) -> dict[str, str]:
    """What was stored for a tracker; empty if there is nothing, or nothing that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str)}


def write_identity(path: Path, values: Mapping[str, str]) -> None:
    """Store it, whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(dict(values), indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def forget_identities(run_folder: Path) -> None:
    """A new run in a used folder is a new run for its trackers too."""
    for path in tracking_folder(run_folder).glob("*.json"):
        path.unlink(missing_ok=True)
    for path in run_folder.glob("events.out.tfevents.*"):
        path.unlink(missing_ok=True)
