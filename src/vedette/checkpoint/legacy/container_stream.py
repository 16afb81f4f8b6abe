"""The container before torch 1.6: five pickles and the raw numbers, one behind the other, without checksums."""

from __future__ import annotations

from typing import BinaryIO

from vedette.checkpoint.legacy.limits import MAX_PICKLE_BYTES
from vedette.checkpoint.legacy.opcodes import interpret
from vedette.checkpoint.legacy.records import Name, damaged
from vedette.checkpoint.legacy.storages import StorageTable
from vedette.errors import CheckpointError

MAGIC = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_COUNT_BYTES = 8


class StreamContainer:
    """An open stream.

    Args:
        file: readable and seekable, open while the container is in use.
        size: of the file in bytes.
    """

    layout = "stream (before torch 1.6)"

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._storages = StorageTable()
        self._places: dict[str, tuple[int, int]] = {}

    def read(self) -> object:
        """The object that was saved, with its storages in place of their ids.

        Raises:
            CheckpointError: a pickle is refused, or the storages do not fill the rest of the file exactly.
        """
        self._file.seek(0)
        data = self._file.read(min(self._size, MAX_PICKLE_BYTES))
        magic, end = interpret(data)
        version, end = interpret(data, end)
        system, end = interpret(data, end)
        if magic != _MAGIC_NUMBER or version != _PROTOCOL_VERSION or not isinstance(system, dict):
            raise damaged("its head is not that of torch.save")
        if system.get("little_endian") is not True:
            raise CheckpointError("was written on a big-endian machine", fix="save it again on another one")
        value, end = interpret(data, end, persistent=self._resolve)
        keys, end = interpret(data, end)
        self._place(keys, end)
        return value

    def storage_bytes(self, key: str) -> bytearray:
        """The bytes of one storage that the object refers to."""
        begin, length = self._places[key]
        return self._bytes_at(begin, length)

    def _bytes_at(self, position: int, count: int) -> bytearray:
        if position + count > self._size:
            raise damaged("it is cut off")
        self._file.seek(position)
        data = bytearray(self._file.read(count))
        if len(data) != count:
            raise damaged("it ends too early")
        return data

    def _resolve(self, identifier: object) -> object:
        """A storage; or the class of a module, which this container wraps together with its source text."""
        if isinstance(identifier, tuple) and len(identifier) == 4 and identifier[0] == "module":
            _, kind, file, source = identifier
            if not isinstance(kind, Name) or not all(isinstance(text, str | None) for text in (file, source)):
                raise damaged("a class that is no name")
            return kind
        return self._storages.resolve(identifier)

    def _place(self, keys: object, begin: int) -> None:
        wanted = {storage.key: storage for storage in self._storages.all()}
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise damaged("its list of storages is unreadable")
        if len(set(keys)) != len(keys) or set(keys) != set(wanted):
            raise damaged("its list of storages is not what its object refers to")
        position = begin
        for key in keys:
            count = int.from_bytes(self._bytes_at(position, _COUNT_BYTES), "little")
            if count != wanted[key].count:
                raise damaged(f"the storage {key} has {count} numbers, not {wanted[key].count}")
            length = self._storages.length(wanted[key])
            self._places[key] = (position + _COUNT_BYTES, length)
            position += _COUNT_BYTES + length
        if position != self._size:
            raise damaged("it is cut off" if position > self._size else "bytes follow its last storage")
