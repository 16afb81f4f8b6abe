"""Metadata of a checkpoint as plain values: numbers, texts, lists, dictionaries; NumPy's scalars decoded by hand."""

from __future__ import annotations

import math
import struct

from vedette.checkpoint.legacy.limits import MAX_VALUES
from vedette.checkpoint.legacy.names import ARRAY_FUNCTIONS, PATHS, SCALAR_FUNCTIONS
from vedette.checkpoint.legacy.records import Record, damaged, mapping_of

_MAX_DEPTH = 16
_LAYOUTS = {"f2": "e", "f4": "f", "f8": "d", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u4": "I"}
"""Type of a NumPy number -> its letter in ``struct``."""


def plain(value: object, where: str, most: int = MAX_VALUES) -> object:
    """``value`` of plain values only, tuples as lists.

    Args:
        value: from a file; parts of it may be one and the same, and are counted each time.
        where: its place, for messages.
        most: values it may hold.

    Raises:
        CheckpointError: it holds a record that stands for none, or is too large or too deep.
    """
    budget = [most]
    return _plain(value, where, budget, 0)


def _plain(value: object, where: str, budget: list[int], depth: int) -> object:
    budget[0] -= 1
    if budget[0] < 0 or depth > _MAX_DEPTH:
        raise damaged("its settings are too many, or nested too deeply", where)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(part, where, budget, depth + 1) for part in value]
    entries = mapping_of(value)
    if entries is not None:
        return {key: _plain(part, where, budget, depth + 1) for key, part in entries.items()}
    if isinstance(value, Record) and value.target.path in PATHS:
        return path_text(value)
    found = number(value)
    if found is None:
        raise damaged("a setting that is no plain value", where)
    return found


def number(value: object) -> float | None:
    """A finite number that is plain, a NumPy scalar, or the only entry of a NumPy array; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if abs(value) < 1e300 and math.isfinite(value) else None
    if not isinstance(value, Record):
        return None
    if value.target.path in SCALAR_FUNCTIONS and len(value.arguments) == 2:
        return _decoded(*value.arguments)
    state = value.state
    if value.target.path in ARRAY_FUNCTIONS and isinstance(state, tuple) and len(state) == 5:
        return _decoded(state[2], state[4]) if state[1] in ((), (1,)) else None
    return None


def path_text(value: Record) -> str:
    """A stored path as text, whatever system it is of."""
    return "/".join(part for part in value.arguments if isinstance(part, str))[:1000]


def _decoded(kind: object, content: object) -> float | None:
    if not isinstance(kind, Record) or kind.target.path != "numpy.dtype" or not kind.arguments:
        return None
    letters = kind.arguments[0]
    layout = _LAYOUTS.get(letters.lstrip("<=|")) if isinstance(letters, str) else None
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    raw = _bytes(content)
    if (
        layout is None
        or raw is None
        or order not in ("<", "|", "=")
        or len(raw) != struct.calcsize("<" + layout)
    ):
        return None
    found = struct.unpack("<" + layout, raw)[0]
    return found if math.isfinite(found) else None


def _bytes(value: object) -> bytes | None:
    """Bytes are stored as a text and its encoding, which is always latin1 here."""
    if not isinstance(value, Record) or value.target.path != "_codecs.encode" or len(value.arguments) != 2:
        return None
    text, encoding = value.arguments
    if not isinstance(text, str) or encoding != "latin1" or len(text) > 16:
        return None
    return bytes(map(ord, text)) if all(ord(character) < 256 for character in text) else None
