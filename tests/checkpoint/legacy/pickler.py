"""Values as the instructions of a pickle of protocol 2, byte by byte: names and calls without what they stand for."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

_BATCH = 1000  # entries that pickle writes with one instruction


@dataclasses.dataclass(eq=False)
class Global:
    """A class or function by its name."""

    module: str
    name: str


@dataclasses.dataclass(eq=False)
class Object:
    """``target(*arguments)``, then its entries, then its state; made anew for objects of classes."""

    target: Global
    arguments: tuple[Any, ...] = ()
    state: Any = None
    entries: dict[Any, Any] | None = None
    new: bool = False


@dataclasses.dataclass(eq=False)
class Reference:
    """Something that lies outside the pickle."""

    identifier: Any


class Pickler:
    """Values as the instructions of protocol 2, with the memo in which pickle keeps everything that is not atomic."""

    def __init__(self) -> None:
        self._out = bytearray(b"\x80\x02")
        self._memo: dict[int, int] = {}
        self._texts: dict[str, int] = {}
        self._kept: list[Any] = []  # or ids would be used again

    def finished(self, value: Any) -> bytes:
        self._put(value)
        return bytes(self._out + b".")

    def _put(self, value: Any) -> None:
        place = self._texts.get(value) if isinstance(value, str) else self._memo.get(id(value))
        if place is not None and not isinstance(value, bool | int | float | None):
            self._out += b"h" + bytes([place]) if place < 256 else b"j" + struct.pack("<I", place)
        elif value is None or isinstance(value, bool):
            self._out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, int):
            self._out += _integer(value)
        elif isinstance(value, float):
            self._out += b"G" + struct.pack(">d", value)
        elif isinstance(value, str):
            raw = value.encode("utf-8")
            self._out += b"X" + struct.pack("<I", len(raw)) + raw
            self._texts[value] = self._remember(value)
        elif isinstance(value, Reference):
            self._put(value.identifier)
            self._out += b"Q"
        else:
            self._container(value)

    def _container(self, value: Any) -> None:
        if isinstance(value, Global):
            self._out += f"c{value.module}\n{value.name}\n".encode()
            self._memo[id(value)] = self._remember(value)
        elif isinstance(value, tuple):
            self._tuple(value)
        elif isinstance(value, list):
            self._out += b"]"
            self._memo[id(value)] = self._remember(value)
            self._batches([(entry,) for entry in value], b"a", b"e")
        elif isinstance(value, dict):
            self._out += b"}"
            self._memo[id(value)] = self._remember(value)
            self._batches(list(value.items()), b"s", b"u")
        else:
            self._object(value)

    def _tuple(self, value: tuple[Any, ...]) -> None:
        if not value:
            self._out += b")"
            return
        self._out += b"(" if len(value) > 3 else b""
        for entry in value:
            self._put(entry)
        self._out += b"t" if len(value) > 3 else bytes([0x84 + len(value)])
        self._memo[id(value)] = self._remember(value)

    def _object(self, value: Object) -> None:
        self._put(value.target)
        self._put(value.arguments)
        self._out += b"\x81" if value.new else b"R"
        self._memo[id(value)] = self._remember(value)
        self._batches(list((value.entries or {}).items()), b"s", b"u")
        if value.state is not None:
            self._put(value.state)
            self._out += b"b"

    def _batches(self, entries: list[tuple[Any, ...]], single: bytes, several: bytes) -> None:
        for begin in range(0, len(entries), _BATCH):
            batch = entries[begin : begin + _BATCH]
            self._out += b"(" if len(batch) > 1 else b""
            for parts in batch:
                for part in parts:
                    self._put(part)
            self._out += several if len(batch) > 1 else single

    def _remember(self, value: Any) -> int:
        place = len(self._kept)
        self._kept.append(value)
        self._out += b"q" + bytes([place]) if place < 256 else b"r" + struct.pack("<I", place)
        return place


def _integer(value: int) -> bytes:
    if 0 <= value < 1 << 8:
        return b"K" + bytes([value])
    if 0 <= value < 1 << 16:
        return b"M" + struct.pack("<H", value)
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw
