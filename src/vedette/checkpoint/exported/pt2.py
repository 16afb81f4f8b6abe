"""Files of ``torch.export`` and packages of AOTInductor: archives that run code when they are opened.

A package holds native code. A saved program may hold pickles, which torch unpickles, and expressions in Python, which
it evaluates (sizes by sympy, guards). Neither can be checked by reading, so only files are opened that vedette wrote on
this machine (:mod:`vedette.checkpoint.exported.record`); any other is hashed, and nothing more.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from vedette.checkpoint.contract import CONTRACT_NAME
from vedette.checkpoint.exported import ExportedFile, contract_of, read_bounded
from vedette.checkpoint.exported.record import was_written_here
from vedette.errors import CheckpointError

FORMATS = ("torch-export", "aotinductor")
CONTRACT_ENTRY = f"extra/{CONTRACT_NAME}.json"


def read_pt2(path: Path) -> ExportedFile:
    """Read a file that this machine wrote.

    Raises:
        CheckpointError: it did not, or the file is none of vedette.
    """
    raw = read_bounded(path)
    if not was_written_here(raw):
        raise CheckpointError(
            "opening it runs code that it holds, and it was not written by vedette on this machine",
            where=path,
            fix="export its checkpoint here: vedette export --weights CHECKPOINT --format aotinductor",
        )
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            names = [name for name in archive.namelist() if name.partition("/")[2] == CONTRACT_ENTRY]
            text = archive.read(names[0]) if len(names) == 1 else None
    except zipfile.BadZipFile:
        text = None
    return ExportedFile(contract_of(text, path, FORMATS), {"model": raw})


def with_contract(archive: bytes, text: str) -> bytes:
    """An archive of torch with the contract among its extra files."""
    stream = io.BytesIO(archive)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as opened:
        root = opened.namelist()[0].partition("/")[0]
        opened.writestr(zipfile.ZipInfo(f"{root}/{CONTRACT_ENTRY}"), text)
    return stream.getvalue()
