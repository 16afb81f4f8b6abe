"""LiteRT files: a FlatBuffers message with the network, and behind it a zip archive with ``vedette.json``.

That is how files of this format have always carried what belongs to them ("TFLite metadata": the model is also an
archive that any unzip opens). The runtime gets the message alone. It verifies its structure; before that it is read
here, and refused if it holds operators that no detector needs, more than one graph, or weights beyond its end. Numbers
of fields and operators: the schema that LiteRT publishes (Apache-2.0).
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NoReturn

from vedette.checkpoint.contract import MAX_CONTRACT_BYTES
from vedette.checkpoint.exported import ExportedFile, contract_of, read_bounded
from vedette.checkpoint.exported.folder import CONTRACT_FILE
from vedette.errors import CheckpointError

_IDENTIFIER = b"TFL3"
_MAX_ITEMS = 1_000_000
_OPERATORS = {
    "ADD": 0, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4, "LOGISTIC": 14, "MAX_POOL_2D": 17, "MUL": 18,
    "RELU": 19, "RELU6": 21, "RESHAPE": 22, "TANH": 28, "PAD": 34, "GATHER": 36, "TRANSPOSE": 39, "SUB": 41, "DIV": 42,
    "STRIDED_SLICE": 45, "EXP": 47, "SPLIT": 49, "CAST": 53, "PRELU": 54, "MAXIMUM": 55, "MINIMUM": 57, "PADV2": 60,
    "SLICE": 65, "SHAPE": 77, "POW": 78, "PACK": 83, "FLOOR_DIV": 90, "SQUARE": 92, "RESIZE_NEAREST_NEIGHBOR": 97,
    "LEAKY_RELU": 98, "SPLIT_V": 102, "ELU": 111, "HARD_SWISH": 117, "SELECT_V2": 123, "BROADCAST_TO": 130,
    "GELU": 150,
}  # fmt: skip
"""Operators that detectors are made of, by their numbers."""


def read_litert(path: Path) -> ExportedFile:
    """Read and check a file; nothing of it is run.

    Returns:
        Part "model": the message without the archive.

    Raises:
        CheckpointError: no LiteRT file of vedette, damaged, or holding what a detector never needs.
    """
    raw = read_bounded(path)
    if raw[4:8] != _IDENTIFIER:
        _refuse("is no model of LiteRT", path)
    text, end = _archived_contract(raw, path)
    contract = contract_of(text, path, ("litert",))
    model = raw[:end]
    try:
        problem = _problem(_Message(model))
    except (struct.error, ValueError):
        _refuse("is damaged", path)
    if problem:
        _refuse(problem, path)
    return ExportedFile(contract, {"model": model})


def with_contract(model: bytes, text: str) -> bytes:
    """A model with its contract behind it."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(CONTRACT_FILE), text)
    return stream.getvalue()


def _archived_contract(raw: bytes, path: Path) -> tuple[bytes | None, int]:
    """The contract and where the archive begins; None and the end of the file if there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            if [entry.filename for entry in entries] != [CONTRACT_FILE]:
                return None, len(raw)
            if entries[0].file_size > MAX_CONTRACT_BYTES:
                _refuse("has too much metadata", path)
            return archive.read(entries[0]), entries[0].header_offset
    except zipfile.BadZipFile:
        return None, len(raw)
    except (zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        _refuse(f"has no readable metadata ({str(error)[:80]})", path)


class _Message:
    """Tables of a FlatBuffers message: fields by number, each optional; places are relative to where they stand."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.root = self._number("<I", 0)

    def _number(self, form: str, place: int) -> int:
        if not 0 <= place < len(self._raw):
            raise ValueError("beyond the end")
        (value,) = struct.unpack_from(form, self._raw, place)
        return int(value)

    def field(self, table: int, number: int) -> int | None:
        """Where a field of a table is; None without it."""
        names = table - self._number("<i", table)
        if 4 + 2 * number >= self._number("<H", names):
            return None
        offset = self._number("<H", names + 4 + 2 * number)
        return table + offset if offset else None

    def value(self, table: int, number: int, form: str) -> int:
        """A number; 0 without the field."""
        place = self.field(table, number)
        return 0 if place is None else self._number(form, place)

    def tables(self, table: int, number: int) -> list[int]:
        """Tables of a vector; none without the field."""
        place = self.field(table, number)
        if place is None:
            return []
        start = place + self._number("<I", place)
        count = self._number("<I", start)
        if count > _MAX_ITEMS:
            raise ValueError("too many")
        places = [start + 4 + 4 * item for item in range(count)]
        return [place + self._number("<I", place) for place in places]


def _problem(message: _Message) -> str:
    """What is wrong with a model; "" if nothing is. Raises ValueError or struct.error if it is damaged."""
    model = message.root
    version, codes, graphs, buffers = 0, 1, 2, 4
    if message.value(model, version, "<I") != 3 or len(message.tables(model, graphs)) != 1:
        return "is no single graph of LiteRT"
    for code in message.tables(model, codes):
        old, custom, new = message.value(code, 0, "<b"), message.field(code, 1), message.value(code, 3, "<i")
        if custom is not None or max(old, new) not in _OPERATORS.values():
            return f"uses an operator that no detector needs ({max(old, new)})"
    for buffer in message.tables(model, buffers):
        if message.value(buffer, 1, "<Q") > 1 or message.value(buffer, 2, "<Q") > 1:
            return "takes weights from beyond its end"
    return ""


def _refuse(what: str, path: Path) -> NoReturn:
    raise CheckpointError(what, where=path, fix="export the checkpoint with `vedette export`")
