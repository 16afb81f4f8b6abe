"""Flags that say the same as the value of another one: ``--adam`` is ``--optimizer Adam``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

_MEANINGS = (
    ("adam", "optimizer", "Adam"),
    ("cos_lr", "schedule", "cosine"),
    ("linear_lr", "schedule", "linear"),
)
"""Switch, the setting that it stands for, and its value."""

_TRUTH = TypeAdapter(bool)


def same_meaning(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with each switch that is on written into the setting it stands for.

    Raises:
        ValueError: a switch contradicts that setting or another switch.
    """
    settled = dict(values)
    said = {setting: f"--{setting} {values[setting]}" for _, setting, _ in _MEANINGS if setting in values}
    for switch, setting, value in _MEANINGS:
        if not _is_on(values.get(switch)):
            continue
        if settled.get(setting, value) != value:
            flag = "--" + switch.replace("_", "-")
            raise ValueError(f"{flag} and {said[setting]} contradict each other: give one of them")
        settled[setting] = value
        said.setdefault(setting, "--" + switch.replace("_", "-"))
    return settled


def _is_on(value: object) -> bool:
    try:
        return _TRUTH.validate_python(value)
    except ValidationError:
        return False  # the field itself will say what is wrong
