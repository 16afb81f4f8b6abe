"""The process that reads a stranger's checkpoint and writes it as ours; started by :mod:`.convert`.

A request in JSON comes in on stdin, an answer in JSON goes out on stdout.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import torch

from vedette.checkpoint.deployable import save_detector
from vedette.checkpoint.legacy.confinement import confined, limit_resources
from vedette.checkpoint.legacy.fingerprint import sha256_of
from vedette.checkpoint.legacy.meaning import LegacyCheckpoint
from vedette.checkpoint.legacy.read import read_legacy, read_open
from vedette.core.letterbox import LetterboxPolicy, round_up_to_stride
from vedette.errors import CheckpointError, VedetteError
from vedette.model.detector import Detector, build_detector
from vedette.model.releases import architecture as find_architecture

DEFAULT_IMAGE_SIZE = 640


def main() -> int:
    """Answer the one request on stdin; the exit code is 0 also where the file is refused."""
    request = json.load(sys.stdin)
    try:
        answer = _answer(request)
    except VedetteError as error:
        answer = {
            "error": {
                "what": error.what,
                "where": error.where,
                "fix": error.fix,
                "kind": type(error).__name__,
            }
        }
    json.dump(answer, sys.stdout)
    return 0


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    path, output = Path(request["path"]), Path(request["output"])
    # The model file is the user's own; reading it needs more than a confined process may do.
    table = find_architecture(request["cfg"]) if request["cfg"] else None
    torch.set_num_threads(1)
    _warm_up()
    limit_resources(path.stat().st_size if path.is_file() else 0)
    with confined(path):
        found = read_legacy(path, table=table, allow_nonfinite=request["allow_nonfinite"])
        if sha256_of(path) != request["sha256"]:
            raise CheckpointError("changed while it was read", where=path, fix="try again when it is written")
    write(
        output, found, source=path.name, sha256=request["sha256"], allow_nonfinite=request["allow_nonfinite"]
    )
    return {"facts": found.facts, "class_names": found.class_names, "name": found.architecture.name}


def write(
    output: Path, found: LegacyCheckpoint, *, source: str, sha256: str, allow_nonfinite: bool = False
) -> None:
    """Write what was found as a deployable checkpoint.

    Raises:
        CheckpointError: it cannot be stored.
        WriteError: the file cannot be written.
    """
    with torch.device("meta"):
        detector = Detector(found.architecture)
    detector.load_state_dict(found.tensors, assign=True)
    side = round_up_to_stride(found.facts["image_size"] or DEFAULT_IMAGE_SIZE, detector.max_stride)
    save_detector(
        output,
        detector,
        class_names=found.class_names,
        letterbox=LetterboxPolicy(size_hw=(side, side), stride=detector.max_stride, shape="minimal"),
        metadata={"imported": {**found.facts, "file": source, "sha256": sha256}},
        allow_nonfinite=allow_nonfinite,
    )


def _warm_up() -> None:
    """Read a file of our own, so that torch imports what it imports late before imports are forbidden."""
    state = build_detector("tiny", classes=1).half().state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    size = buffer.tell()
    buffer.seek(0)
    read_open(buffer, size, where="warm-up")
