"""JSON that nobody has checked yet, read field by field: every key known and present, every value bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from vedette.errors import CheckpointError, nearest


def parse_json(text: str | bytes, where: object, max_bytes: int) -> object:
    """The value of a JSON text, without repeated keys and without NaN or infinity.

    Raises:
        CheckpointError: too long, no JSON, nested too deeply, or a key occurs twice.
    """
    if len(text) > max_bytes:
        raise CheckpointError(f"its metadata has {len(text)} bytes, more than {max_bytes}", where=where)
    try:
        value: object = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise CheckpointError(
            f"its metadata is not readable JSON ({str(error)[:100]})", where=where
        ) from None
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name[:20]} is no JSON number")


@dataclass(frozen=True, slots=True)
class Fields:
    """The values of one JSON object. Every method raises CheckpointError that names the field.

    Attributes:
        values: by key.
        where: the file, and the way to this object in it.
    """

    values: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, value: object, where: object, keys: Sequence[str]) -> Fields:
        """An object that has exactly these keys."""
        if not isinstance(value, dict):
            raise CheckpointError("must be an object of names and values", where=where)
        for key in value:
            if key not in keys:
                raise CheckpointError(f"unknown key {key!r:.80}", where=where, fix=nearest(key[:80], keys))
        for key in keys:
            if key not in value:
                raise CheckpointError("is missing", where=f"{where}: {key}")
        return cls(value, str(where))

    def place(self, key: str) -> str:
        """How an error names a field."""
        return f"{self.where}: {key}"

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number in a range."""
        value = self.values[key]
        if type(value) is not int or not low <= value <= high:
            self._refuse(key, f"must be a whole number from {low} to {high}")
        return int(value)

    def number(self, key: str, low: float, high: float) -> float:
        """A number in a range."""
        value = self.values[key]
        if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
            self._refuse(key, f"must be a number from {low:g} to {high:g}")
        return float(value)

    def text(self, key: str, longest: int, shortest: int = 0) -> str:
        """A text of bounded length, without control characters."""
        value = self.values[key]
        if not isinstance(value, str) or not shortest <= len(value) <= longest or not value.isprintable():
            self._refuse(key, f"must be a text of {shortest} to {longest} printable characters")
        return str(value)

    def choice(self, key: str, options: Sequence[str]) -> Any:
        """One of some words; typed as whatever literal the caller wants."""
        value = self.values[key]
        if not isinstance(value, str) or value not in options:
            self._refuse(key, f"must be one of {', '.join(options)}")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.values[key]
        if not isinstance(value, bool):
            self._refuse(key, "must be true or false")
        return bool(value)

    def several(self, key: str, low: int, high: int) -> list[Any]:
        """A list of bounded length."""
        value = self.values[key]
        if not isinstance(value, list) or not low <= len(value) <= high:
            self._refuse(key, f"must be a list of {low} to {high} values")
        return list(value)

    def whole_numbers(self, key: str, count: tuple[int, int], low: int, high: int) -> tuple[int, ...]:
        """A list of whole numbers; ``count`` is the least and greatest length."""
        values = self.several(key, *count)
        if any(type(value) is not int or not low <= value <= high for value in values):
            self._refuse(key, f"must be whole numbers from {low} to {high}")
        return tuple(values)

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """A list of ``count`` numbers."""
        return tuple(
            Fields({key: value}, self.where).number(key, low, high)
            for value in self.several(key, count, count)
        )

    def record(self, key: str, keys: Sequence[str]) -> Fields:
        """An object within this one."""
        return Fields.of(self.values[key], self.place(key), keys)

    def absent(self, key: str) -> bool:
        """Whether the value is null."""
        return self.values[key] is None

    def _refuse(self, key: str, rule: str) -> NoReturn:
        raise CheckpointError(rule, where=self.place(key), fix=f"got {self.values[key]!r:.60}")
