"""``manifest.json``: where a run comes from. What was asked for, of which data, by what software on which machine.

=============== ======================================================================================
schema          version of this layout, 1
config          every setting of the run
hyperparameters likewise
seed            of everything random
precision       arithmetic of the network
model           in words
data            description, hash and size of both splits; the hash covers labels and picture files
starts          one entry for the start and for each time the run was taken up again
=============== ======================================================================================

An entry of ``starts`` holds ``time`` (UTC), ``step``, ``command``, ``directory``, ``git``, ``versions``, ``machine``
and what may differ from start to start: ``device``, ``threads``, ``workers``. No environment variable is read.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.checkpoint.atomic import write_atomic
from vedette.train.events import Emitter
from vedette.train.folder.machine import describe_machine, git_commit, library_versions

if TYPE_CHECKING:
    from vedette.data.index import SplitIndex
    from vedette.train.setup import Setup

SCHEMA = 1


def write_manifest(setup: Setup, emitter: Emitter) -> None:
    """Write the manifest of a new run, or add this start to that of a resumed one.

    A manifest that is missing or damaged is begun again: it informs people, the run does not need it.

    Raises:
        WriteError: the file cannot be written.
    """
    path = setup.files.manifest
    starts = _earlier_starts(path, emitter) if setup.files.resumed else []
    config = setup.config
    manifest = {
        "schema": SCHEMA,
        "config": config.model_dump(mode="json"),
        "hyperparameters": setup.files.hyperparameters.model_dump(mode="json"),
        "seed": config.seed,
        "precision": setup.precision,
        "model": setup.facts.get("model", ""),
        "data": {
            "description": config.data,
            "train": _described_split(setup.train_index),
            "val": _described_split(setup.val_index),
        },
        "starts": [*starts, _this_start(setup)],
    }
    write_atomic(path, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace"))


def _earlier_starts(path: Path, emitter: Emitter) -> list[Any]:
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
        if isinstance(starts, list):
            return starts
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    emitter.note(f"{path} is damaged and was begun again", "warning")
    return []


def _described_split(index: SplitIndex) -> dict[str, Any]:
    return {"sha256": index.content_hash, "pictures": len(index)}


def _this_start(setup: Setup) -> dict[str, Any]:
    directory = Path.cwd()
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "step": setup.state.progress.step,
        "command": sys.argv,
        "directory": str(directory),
        "git": git_commit(directory),
        "device": str(setup.rules.device),
        "threads": setup.config.threads,
        "workers": setup.config.workers,
        "versions": {"vedette": version("vedette"), **library_versions()},
        "machine": {**describe_machine(), "pid": os.getpid()},
    }
