"""What a pickle turns into here: plain values, and inert records where it asks for a class or a call.

A record says which name a file wanted and what it wanted to give it. It is never looked up, called or hashed by
code of the file. Records are compared and hashed by identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from vedette.errors import CheckpointError


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A class or function that a file names.

    Attributes:
        module: as written in the file.
        attribute: as written in the file; with dots it is never a known one.
    """

    module: str
    attribute: str

    @property
    def path(self) -> str:
        """``module.attribute``."""
        return f"{self.module}.{self.attribute}"


@dataclass(slots=True, eq=False)
class Record:
    """A call that a file asks for: an object of a class, or the result of a function.

    Attributes:
        target: what was to be called.
        arguments: with what.
        state: what the object was to be filled with, once ``built``.
        built: whether there is a state.
        items: of a dictionary of a class of its own.
    """

    target: Name
    arguments: tuple[object, ...]
    state: object = None
    built: bool = False
    items: dict[object, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Storage:
    """A block of numbers that lies elsewhere in the file.

    Attributes:
        key: which block.
        kind: the class of the block, such as ``FloatStorage``.
        count: how many numbers it has.
    """

    key: str
    kind: str
    count: int


def target_of(value: object) -> str:
    """The path of the name a record was made from; empty for anything else."""
    return value.target.path if isinstance(value, Record) else ""


def attributes_of(value: object) -> dict[object, object]:
    """The attributes an object of a class was filled with; empty for anything else."""
    return value.state if isinstance(value, Record) and isinstance(value.state, dict) else {}


def mapping_of(value: object) -> dict[object, object] | None:
    """The entries of a dictionary, of a plain or an ordered one; None for anything else."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Record) and value.target.path == "collections.OrderedDict":
        return value.items
    return None


def damaged(what: str, where: object = "") -> CheckpointError:
    """The error for a file that contradicts itself."""
    return CheckpointError(
        f"is damaged or was made by hand ({what})", where=where, fix="use another copy of the file"
    )
