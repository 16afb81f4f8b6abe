"""On which line of a JSON file the records of a list begin; asked only when a record is at fault."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_BLANK = re.compile(r"[ \t\r\n]*")


def record_lines(text: str, key: str, positions: Iterable[int]) -> dict[int, int]:
    """1-based line of some records of the list ``key`` of the outermost object.

    Args:
        text: JSON that is known to be well-formed, with an object outermost.
        key: the list; of a repeated key the last one counts, as it does for ``json``.
        positions: 0-based positions in the list.

    Returns:
        position to line; positions beyond the list are left out.
    """
    wanted = sorted(set(positions))
    if not wanted:
        return {}
    offsets = _record_offsets(text, key, wanted)
    lines: dict[int, int] = {}
    line, counted_to = 1, 0
    for position in wanted:
        if position in offsets:
            line += text.count("\n", counted_to, offsets[position])
            counted_to = offsets[position]
            lines[position] = line
    return lines


def _record_offsets(text: str, key: str, wanted: list[int]) -> dict[int, int]:
    decode = json.JSONDecoder().raw_decode
    offsets: dict[int, int] = {}
    at = _skip(text, _skip(text, 0) + 1)
    while text[at] != "}":
        name, at = decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # past the colon
        if name == key and text[at] == "[":
            offsets, at = _list_offsets(text, at, set(wanted))
        else:
            _, at = decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return offsets


def _list_offsets(text: str, at: int, wanted: set[int]) -> tuple[dict[int, int], int]:
    """Offsets of the wanted elements of the list that begins at ``at``, and the place after its end."""
    decode = json.JSONDecoder().raw_decode
    offsets: dict[int, int] = {}
    at = _skip(text, at + 1)
    position = 0
    while text[at] != "]":
        if position in wanted:
            offsets[position] = at
        _, at = decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        position += 1
    return offsets, at + 1


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at
