"""Flags as people type them: underscores for dashes, and any beginning that only one flag has.

Scripts written for the reference rely on both (specification training.md section 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vedette.errors import UsageError


def full_names(command: str, known: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """``arguments`` with every flag spelled out; what is no beginning of a flag stays as it is.

    A name that is known always means itself, also where longer ones begin with it.

    Args:
        command: for messages.
        known: flag, dashes included, to what it stands for; several flags of one meaning are spellings of each other.
        arguments: a command line, without the command.

    Raises:
        UsageError: a beginning of flags of different meanings; lists them.
    """
    result = list(arguments)
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            result[position] = _full_name(command, known, name) + equals + value
    return result


def _full_name(command: str, known: Mapping[str, str], name: str) -> str:
    dashed = "--" + name[2:].replace("_", "-")
    for candidate in (name, dashed):
        if candidate in known:
            return candidate
    candidates = [flag for flag in known if flag.startswith(dashed)]
    meanings = {known[flag] for flag in candidates}
    if len(meanings) > 1:
        raise UsageError(
            f"{name} may mean {', '.join(sorted(candidates))}", where=command, fix="write more of it"
        )
    return candidates[0] if candidates else name
