"""Folders of formats that have no place for metadata: ``vedette.json`` beside the files of the runtime."""

from __future__ import annotations

from pathlib import Path

from vedette.checkpoint.contract import CONTRACT_NAME, MAX_CONTRACT_BYTES, ExportContract
from vedette.checkpoint.exported import contract_of, read_bounded

CONTRACT_FILE = f"{CONTRACT_NAME}.json"


def read_folder_contract(path: Path, formats: tuple[str, ...]) -> ExportContract:
    """The contract of a folder that holds a file of one of these formats.

    Raises:
        CheckpointError: there is none, or it is not as it must be.
    """
    file = path / CONTRACT_FILE
    text = read_bounded(file, MAX_CONTRACT_BYTES) if file.exists() else None
    return contract_of(text, path, formats)
