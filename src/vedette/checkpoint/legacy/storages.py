"""The blocks of numbers that a pickle refers to by persistent ids."""

from __future__ import annotations

from collections.abc import Iterable

from vedette.checkpoint.legacy.limits import MAX_NUMBER
from vedette.checkpoint.legacy.records import Name, Storage, damaged

ITEM_BYTES = {
    "BFloat16Storage": 2,
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "DoubleStorage": 8,
    "FloatStorage": 4,
    "HalfStorage": 2,
    "IntStorage": 4,
    "LongStorage": 8,
    "ShortStorage": 2,
}
"""Bytes of a number, by the class of its block (of the module ``torch``)."""


class StorageTable:
    """Which blocks a file refers to. A block has one type and one length, wherever it is named."""

    def __init__(self) -> None:
        self._by_key: dict[str, Storage] = {}

    def resolve(self, identifier: object) -> Storage:
        """The storage that ``("storage", class, key, location, count)`` names. Raises CheckpointError."""
        if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
            raise damaged("a reference to data that is no storage")
        _, kind, key, location, count = identifier[:5]
        if len(identifier) == 6 and identifier[5] is not None:
            raise damaged("a storage that is a part of another one")
        if not isinstance(kind, Name) or kind.module != "torch" or kind.attribute not in ITEM_BYTES:
            raise damaged("a storage of an unknown type")
        if (
            not isinstance(key, str)
            or not isinstance(location, str)
            or not 0 < len(key) <= 64
            or not key.isalnum()
        ):
            raise damaged("a storage with an impossible name")
        if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < MAX_NUMBER:
            raise damaged("a storage with an impossible length")
        storage = Storage(key, kind.attribute, count)
        if self._by_key.setdefault(key, storage) != storage:
            raise damaged(f"the storage {key} is used with two types or lengths")
        return storage

    def all(self) -> Iterable[Storage]:
        """Every storage that was referred to."""
        return self._by_key.values()

    def length(self, storage: Storage) -> int:
        """Its bytes."""
        return storage.count * ITEM_BYTES[storage.kind]
