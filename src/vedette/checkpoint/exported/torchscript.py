"""TorchScript files: a zip archive with code that torch compiles and runs, so the code is read first.

What torch gets in the end is an archive written anew from the parts that were looked at: two readers of zip need not
agree on what a crafted one holds.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import NoReturn

from vedette.checkpoint.contract import CONTRACT_NAME
from vedette.checkpoint.exported import ExportedFile, contract_of, read_bounded
from vedette.checkpoint.exported.torchscript_code import forbidden_word
from vedette.errors import CheckpointError

CONTRACT_ENTRY = f"extra/{CONTRACT_NAME}.json"
_MAX_PARTS = 20_000
_ROOT = "archive"


def read_torchscript(path: Path) -> ExportedFile:
    """Read and check a TorchScript file; nothing of it is run.

    Raises:
        CheckpointError: no TorchScript file of vedette, damaged, or with code that a detector never needs.
    """
    raw = read_bounded(path)
    parts = _parts(raw, path)
    contract = contract_of(parts.pop(CONTRACT_ENTRY, None), path, ("torchscript",))
    for name, content in parts.items():
        if name.startswith("code/"):
            _check_code(name, content, path)
        elif name.endswith(".pkl"):
            _check_pickle(name, content, path)
    return ExportedFile(contract, {"model": pack_archive(parts)})


def pack_archive(parts: dict[str, bytes]) -> bytes:
    """An archive as torch reads it, with these parts; the same bytes for the same parts."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(f"{_ROOT}/{name}"), content)
    return stream.getvalue()


def unpack_archive(raw: bytes) -> dict[str, bytes]:
    """The parts of an archive by name, without its root folder.

    Raises:
        ValueError: it is damaged, compressed beyond its size, or is no archive of torch.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if len(names) > _MAX_PARTS or len(names) != len(set(names)):
                raise ValueError("has too many parts, or one twice")
            # Compressed code is a few times as large; weights are stored as they are.
            if sum(entry.file_size for entry in entries) > 2 * len(raw) + 2**24:
                raise ValueError("unpacks to much more than it should")
            if len({name.partition("/")[0] for name in names}) != 1:
                raise ValueError("is no archive of torch")
            return {entry.filename.partition("/")[2]: archive.read(entry) for entry in entries}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise ValueError(f"is no readable archive ({str(error)[:80]})") from None


def _parts(raw: bytes, path: Path) -> dict[str, bytes]:
    try:
        return unpack_archive(raw)
    except ValueError as error:
        _refuse(str(error), path)


def _check_code(name: str, content: bytes, path: Path) -> None:
    if not name.endswith(".py"):
        _refuse(f"holds {name[:80]!r} among its code", path)
    try:
        forbidden = forbidden_word(content.decode("ascii"))
    except UnicodeDecodeError:
        _refuse("has code that is not ASCII", path)
    if forbidden:
        _refuse(f"has code that no detector needs ({forbidden[:40]!r})", path)


def _check_pickle(name: str, content: bytes, path: Path) -> None:
    if name not in ("data.pkl", "constants.pkl") or b"torch.classes" in content:
        _refuse(f"holds objects that no detector needs ({name[:80]!r})", path)


def _refuse(what: str, path: Path) -> NoReturn:
    raise CheckpointError(what, where=path, fix="export the checkpoint with `vedette export`")
