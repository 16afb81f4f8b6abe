"""Type and size checks for values that strangers wrote: headers of checkpoints, YAML files from the web."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from vedette.errors import ModelError, nearest

MAX_TEXT_LENGTH = 200

ResultT = TypeVar("ResultT")


def shown(value: object) -> str:
    """A short text for any value, however large or deep it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return "a number too long to show"


def check_integer(value: object, low: int, high: int, where: str) -> int:
    """``value`` if it is a whole number (no bool) from ``low`` to ``high``. Raises ModelError."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ModelError(f"must be a whole number from {low} to {high}, not {shown(value)}", where=where)
    return value


def check_number(value: object, low: float, high: float, where: str) -> float:
    """``value`` as a float if it is a number (no bool, no NaN) from ``low`` to ``high``. Raises ModelError."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
        raise ModelError(f"must be a number from {low:g} to {high:g}, not {shown(value)}", where=where)
    return float(value)


def check_flag(value: object, where: str) -> bool:
    """``value`` if it is a bool. Raises ModelError."""
    if not isinstance(value, bool):
        raise ModelError(f"must be true or false, not {shown(value)}", where=where)
    return value


def check_text(value: object, where: str) -> str:
    """``value`` if it is a short printable string. Raises ModelError."""
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT_LENGTH or not value.isprintable():
        raise ModelError(f"must be a printable text of 1 to {MAX_TEXT_LENGTH} characters", where=where)
    return value


def check_word(value: object, known: Sequence[str], where: str) -> str:
    """``value`` if it is one of the known words. Raises ModelError naming the nearest one."""
    if not isinstance(value, str) or value not in known:
        text = str(value)[:100] if isinstance(value, str) else shown(value)
        raise ModelError(f"{text!r} is not known", where=where, fix=nearest(text, known))
    return value


def check_list(value: object, low: int, high: int, where: str) -> list[Any]:
    """``value`` as a list if it is a list or tuple of ``low`` to ``high`` entries. Raises ModelError."""
    if not isinstance(value, (list, tuple)) or not low <= len(value) <= high:
        raise ModelError(f"must be a list of {low} to {high} entries", where=where)
    return list(value)


def check_mapping(
    values: object, known: Sequence[str], where: str, *, optional: Sequence[str] = ()
) -> dict[str, Any]:
    """A copy of a mapping that has every known key (the optional ones may lack) and no other.

    Raises:
        ModelError: naming the missing key, or the known key nearest to an unknown one.
    """
    if not isinstance(values, Mapping):
        raise ModelError("must be a mapping of names to values", where=where)
    for key in values:
        if key not in known:
            text = str(key)[:100] if isinstance(key, str) else shown(key)
            raise ModelError("unknown key", where=f"{where}: {text}", fix=nearest(text, known))
    missing = [key for key in known if key not in values and key not in optional]
    if missing:
        raise ModelError(f"the key '{missing[0]}' is missing", where=where)
    return dict(values)


def placed(build: Callable[[], ResultT], where: object) -> ResultT:
    """Call ``build`` and put ``where`` in front of the place of any ModelError it raises."""
    try:
        return build()
    except ModelError as error:
        place = f"{where}: {error.where}" if error.where else str(where)
        raise ModelError(error.what, where=place, fix=error.fix) from None
