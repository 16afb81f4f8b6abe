"""Names and paths from outside, made safe to print, draw and write on one line."""

from __future__ import annotations

import re

# C0 and C1 controls, line and paragraph separators, direction overrides, and halves of surrogate pairs (they
# stand for bytes of a file name that are not UTF-8, and cannot be encoded).
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""``text`` on one line: every control character is replaced by its escape (``\u001b``)."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
