"""ExecuTorch folders: the program, and ``vedette.json`` beside it, as the program has no place for metadata.

A program holds no code of a machine or of Python; which of the runtime's operators it calls is written in it by name.
The runtime is told to verify its structure before it uses it.
"""

from __future__ import annotations

from pathlib import Path

from vedette.checkpoint.exported import ExportedFile, read_bounded
from vedette.checkpoint.exported.folder import read_folder_contract
from vedette.errors import CheckpointError

PROGRAM_FILE = "model.pte"
_IDENTIFIER = slice(4, 6)
"""Where a FlatBuffers file says what it is: "ET" and the version of the schema."""


def read_executorch(path: Path) -> ExportedFile:
    """Read a folder; nothing of it is run.

    Raises:
        CheckpointError: no ExecuTorch folder of vedette, or damaged.
    """
    contract = read_folder_contract(path, ("executorch",))
    program = read_bounded(path / PROGRAM_FILE)
    if program[_IDENTIFIER] != b"ET":
        raise CheckpointError(
            "is no program of ExecuTorch",
            where=path / PROGRAM_FILE,
            fix="export the checkpoint with `vedette export`",
        )
    return ExportedFile(contract, {"model": program})
