"""ONNX files: a walk over the protobuf message that finds the metadata and refuses what a detector never needs.

A runtime parses the whole model to read its metadata, and on the way opens files that the model names. So the bytes
are looked at first: tensors must lie within the file, operators must be those of the standard, and there are no
functions, no subgraphs and no training part. Field numbers: onnx.proto3 of the ONNX specification (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from vedette.checkpoint.contract import CONTRACT_NAME
from vedette.checkpoint.exported import ExportedFile, contract_of, read_bounded
from vedette.errors import CheckpointError

_MAX_FIELDS = 2_000_000
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_STANDARD_DOMAINS = (b"", b"ai.onnx")
_MODEL_FIELDS = frozenset((1, 2, 3, 4, 5, 6, 7, 8, 14))


def read_onnx(path: Path) -> ExportedFile:
    """Read and check an ONNX file; nothing of it is run.

    Raises:
        CheckpointError: no ONNX file of vedette, damaged, or holding what a detector never needs.
    """
    raw = read_bounded(path)
    walk = _Walk(str(path))
    walk.model(memoryview(raw))
    return ExportedFile(contract_of(walk.contract, path, ("onnx",)), {"model": raw})


@dataclass(slots=True)
class _Walk:
    """What was seen so far."""

    where: str
    seen: int = 0
    contract: bytes | None = None

    def model(self, message: memoryview) -> None:
        graphs = 0
        for number, value in self._fields(message):
            if number not in _MODEL_FIELDS:
                self._refuse(f"has a part that no detector needs (field {number})")
            if number == 7:
                graphs += 1
                self._graph(self._message(value))
            elif number == 8:
                self._operator_set(self._message(value))
            elif number == 14:
                self._metadata(self._message(value))
        if graphs != 1:
            self._refuse("is no ONNX model")

    def _operator_set(self, message: memoryview) -> None:
        for number, value in self._fields(message):
            if number == 1:
                self._domain(value)

    def _metadata(self, message: memoryview) -> None:
        entry = {number: bytes(self._message(value)) for number, value in self._fields(message)}
        if entry.get(1) == CONTRACT_NAME.encode("ascii"):
            if self.contract is not None:
                self._refuse("has its metadata twice")
            self.contract = entry.get(2, b"")

    def _graph(self, message: memoryview) -> None:
        for number, value in self._fields(message):
            if number == 1:
                self._node(self._message(value))
            elif number == 5:
                self._tensor(self._message(value))
            elif number == 15:
                self._refuse("holds sparse tensors")

    def _node(self, message: memoryview) -> None:
        for number, value in self._fields(message):
            if number == 5:
                self._attribute(self._message(value))
            elif number == 7:
                self._domain(value)

    def _attribute(self, message: memoryview) -> None:
        for number, value in self._fields(message):
            if number in (5, 10):
                self._tensor(self._message(value))
            elif number in (6, 11):
                self._refuse("holds a graph within its graph")
            elif number in (22, 23):
                self._refuse("holds sparse tensors")

    def _tensor(self, message: memoryview) -> None:
        for number, value in self._fields(message):
            if number == 13 or (number == 14 and value != 0):
                self._refuse("takes weights from another file")

    def _domain(self, value: int | memoryview) -> None:
        domain = bytes(self._message(value))
        if domain not in _STANDARD_DOMAINS:
            self._refuse(f"uses operators beyond the standard ({domain[:60].decode('ascii', 'replace')!r})")

    def _message(self, value: int | memoryview) -> memoryview:
        if isinstance(value, int):
            self._refuse("is no readable ONNX model")
        return value

    def _fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Number and value of every field: a number, or the bytes of a string or message."""
        place = 0
        while place < len(message):
            self.seen += 1
            if self.seen > _MAX_FIELDS:
                self._refuse(f"has more than {_MAX_FIELDS} parts")
            key, place = self._varint(message, place)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, place = self._varint(message, place)
                yield number, value
                continue
            if wire == _BYTES:
                length, place = self._varint(message, place)
            elif wire in (_FIXED32, _FIXED64):
                length = 4 if wire == _FIXED32 else 8
            else:
                self._refuse("is no readable ONNX model")
            if length > len(message) - place:
                self._refuse("is cut off")
            yield number, message[place : place + length]
            place += length

    def _varint(self, message: memoryview, place: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if place >= len(message):
                self._refuse("is cut off")
            byte = message[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, place
        return self._refuse("is no readable ONNX model")

    def _refuse(self, what: str) -> NoReturn:
        raise CheckpointError(what, where=self.where, fix="export the checkpoint with `vedette export`")
