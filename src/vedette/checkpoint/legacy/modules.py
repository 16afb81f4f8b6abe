"""The modules of a stored network, with their places, as torch names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vedette.checkpoint.legacy.limits import MAX_MODULE_DEPTH, MAX_MODULES
from vedette.checkpoint.legacy.names import ACTIVATIONS, BLOCKS, ROOTS, refusal
from vedette.checkpoint.legacy.records import Record, attributes_of, damaged, mapping_of

IGNORED_SUFFIXES = ("total_ops", "total_params")
"""Ends of names that a profiler left behind (specification ``checkpoint.md`` section 4)."""


@dataclass(frozen=True, slots=True)
class StoredModule:
    """One module of a stored network.

    Attributes:
        place: its name, such as ``model.3.conv``; empty for the network itself.
        kind: the name of its class here, such as ``Conv``; ``Model`` for the network itself.
        attributes: what it was filled with.
    """

    place: str
    kind: str
    attributes: dict[object, object]

    @property
    def is_activation(self) -> bool:
        """Whether it is one of the known activations."""
        return self.kind in ACTIVATIONS.values() or self.kind == "Identity"


def read_modules(root: Record) -> list[StoredModule]:
    """A network and everything in it, parents before children, in the order they were registered.

    A module that is used at several places occurs at each.

    Raises:
        CheckpointError: a module of another kind, too many or too deep ones, or something that is no module.
    """
    found: list[StoredModule] = []
    waiting: list[tuple[Record, str, int]] = [(root, "", 0)]
    while waiting:
        record, place, depth = waiting.pop()
        if depth > MAX_MODULE_DEPTH or len(found) >= MAX_MODULES:
            raise damaged("its modules are nested too deeply, or too many", _shown_place(place))
        found.append(StoredModule(place, _kind(record, place), attributes_of(record)))
        children = list(_children(record, place))
        waiting.extend((child, name, depth + 1) for child, name in reversed(children))
    return found


def tensor_records(modules: list[StoredModule]) -> tuple[dict[str, object], list[str]]:
    """The parameters and buffers of a network by name, in the order of its state dict; and the names left out.

    Raises:
        CheckpointError: something that is no dictionary of tensors.
    """
    records: dict[str, object] = {}
    ignored: list[str] = []
    for module in modules:
        for group in ("_parameters", "_buffers"):
            for name, value in _entries(module.attributes, group, module.place):
                place = f"{module.place}.{name}".removeprefix(".")
                if place.endswith(IGNORED_SUFFIXES):
                    ignored.append(place)
                elif value is not None:
                    records[place] = value
    return records, ignored


def _kind(record: Record, place: str) -> str:
    path = record.target.path
    if not place and path in ROOTS:
        return "Model"
    kind = BLOCKS.get(path) or ACTIVATIONS.get(path)
    if kind is None:
        raise refusal(record.target, _shown_place(place))
    if not record.built:
        raise damaged(f"a {kind} without contents", _shown_place(place))
    return kind


def _children(record: Record, place: str) -> Iterator[tuple[Record, str]]:
    for name, value in _entries(attributes_of(record), "_modules", place):
        if value is None:
            continue
        if not isinstance(value, Record):
            raise damaged("something that is no module among modules", _shown_place(place))
        yield value, f"{place}.{name}".removeprefix(".")


def _entries(attributes: dict[object, object], group: str, place: str) -> list[tuple[str, object]]:
    values = mapping_of(attributes.get(group, {}))
    if values is None or not all(isinstance(name, str) and 0 < len(name) < 100 for name in values):
        raise damaged(f"its {group} are unreadable", _shown_place(place))
    return [(str(name), value) for name, value in values.items()]


def _shown_place(place: str) -> str:
    return f"model.{place}"[:200] if place else "model"
