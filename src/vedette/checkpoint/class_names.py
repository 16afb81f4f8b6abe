"""Class names as files carry them: as many as there are classes, short, printable on one line."""

from __future__ import annotations

import unicodedata

from vedette.errors import CheckpointError

MAX_CLASS_NAME_LENGTH = 256
_FIX = "every class has one short name on one line"
_FORBIDDEN_CATEGORIES = frozenset(
    {"Cc", "Cs", "Zl", "Zp"}
)  # control, surrogate, line and paragraph separators


def checked_class_names(names: object, classes: int, where: object) -> tuple[str, ...]:
    """Names of ``classes`` classes, from a list that nobody has checked yet.

    Raises:
        CheckpointError: another number of names, or one that is no text of 1 to 256 characters without control
            characters.
    """
    if not isinstance(names, list) or len(names) != classes:
        count = len(names) if isinstance(names, list) else "no"
        raise CheckpointError(f"has {count} class names for {classes} classes", where=where, fix=_FIX)
    for number, name in enumerate(names):
        if not isinstance(name, str) or not 0 < len(name) <= MAX_CLASS_NAME_LENGTH:
            raise CheckpointError(
                f"is no text of 1 to {MAX_CLASS_NAME_LENGTH} characters",
                where=f"{where}: class name {number}",
                fix=_FIX,
            )
        if any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in name):
            raise CheckpointError(
                "holds a control character", where=f"{where}: class name {number}", fix=_FIX
            )
    return tuple(names)
