"""Reads the transaction log of an offline W&B run: W&B's own records in LevelDB's log format."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BLOCK = 32768
_FILE_HEADER = 7
_RECORD_HEADER = struct.Struct("<IHB")
_WHOLE, _LAST = 1, 4


def records(folder: Path) -> list[Any]:
    """All records of the run in ``folder`` (``offline-run-...``), in order."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    return [Record.FromString(content) for content in _contents(path.read_bytes())]


def _contents(data: bytes) -> Iterator[bytes]:
    place, parts = _FILE_HEADER, b""
    while place + _RECORD_HEADER.size <= len(data):
        left_in_block = _BLOCK - place % _BLOCK
        if left_in_block < _RECORD_HEADER.size:
            place += left_in_block
            continue
        _, length, kind = _RECORD_HEADER.unpack_from(data, place)
        place += _RECORD_HEADER.size
        parts += data[place : place + length]
        place += length
        if kind in (_WHOLE, _LAST):
            yield parts
            parts = b""


def history(found: list[Any]) -> list[dict[str, Any]]:
    """The history rows, by key."""
    rows = []
    for record in found:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
            )
    return rows


def of_kind(found: list[Any], kind: str) -> list[Any]:
    """The contents of all records of one kind."""
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]
