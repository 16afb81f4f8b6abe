"""One strict reading of numbers in label files, which says what is wrong with a token that is none."""

from __future__ import annotations

import math
import re

NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")

_FAULTS = (
    ("nan", re.compile(r"[+-]?nan", re.IGNORECASE)),
    ("infinite", re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)),
    ("hexadecimal", re.compile(r"[+-]?0x[0-9a-f.p+-]*", re.IGNORECASE)),
    ("underscore", re.compile(r"[+-]?[0-9._]*_[0-9._]*(?:[eE][+-]?[0-9_]+)?")),
    ("decimal-comma", re.compile(r"[+-]?[0-9]*,[0-9]+")),
)


def read_number(token: str) -> tuple[float, str]:
    """The value of a decimal number, and "" or the kind of defect that the token is.

    Only ASCII digits, a point and an exponent are taken; ``float()`` would also take ``1_0``, ``nan`` and
    digits of other scripts.
    """
    if NUMBER.fullmatch(token):
        value = float(token)
        return value, "" if math.isfinite(value) else "infinite"
    return math.nan, next((kind for kind, form in _FAULTS if form.fullmatch(token)), "not-a-number")


def read_numbers(tokens: list[str]) -> tuple[list[float], str, str]:
    """Values of several tokens, with kind and token of the first fault ("" and "" if there is none)."""
    values = []
    for token in tokens:
        value, kind = read_number(token)
        if kind:
            return [], kind, token
        values.append(value)
    return values, "", ""
