"""The container of torch 1.6 and later: a zip archive of uncompressed records, read by its central directory.

Written by hand, because the rules here are narrower than zip's: every record is stored as it is, carries a right
checksum, overlaps no other, and is named once, below one common folder.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO

from vedette.checkpoint.legacy.limits import MAX_PICKLE_BYTES, MAX_ZIP_ENTRIES
from vedette.checkpoint.legacy.opcodes import interpret
from vedette.checkpoint.legacy.records import damaged
from vedette.checkpoint.legacy.storages import StorageTable
from vedette.errors import CheckpointError

MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2IH")
_END_64_LOCATOR = struct.Struct("<4sIQI")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_ALLOWED_FLAGS = 0x0008 | 0x0800  # sizes behind the data; names in UTF-8
_FULL_16, _FULL_32 = 0xFFFF, 0xFFFFFFFF
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    crc: int
    size: int
    local: int
    flags: int
    method: int
    packed: int


class ZipContainer:
    """An open archive.

    Args:
        file: readable and seekable, open while the container is in use.
        size: of the file in bytes.

    Raises:
        CheckpointError: the archive breaks a rule, or is another kind of archive.
    """

    layout = "zip archive (torch 1.6 or later)"

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        entries = self._directory()
        _refuse_other_archives([entry.name for entry in entries])
        for entry in entries:
            _check_stored(entry)
        self._entries = _without_root(entries)
        self._begins = self._places(entries)
        self._storages = StorageTable()

    def read(self) -> object:
        """The object that was saved, with its storages in place of their ids. Checks every record's checksum."""
        for name in self._entries:
            if name != "data.pkl":
                self._check(name)
        order = self._content("byteorder", 16) if "byteorder" in self._entries else b"little"
        if order.strip() != b"little":
            raise CheckpointError("was written on a big-endian machine", fix="save it again on another one")
        data = self._content("data.pkl", MAX_PICKLE_BYTES)
        value, end = interpret(data, persistent=self._storages.resolve)
        if end != len(data):
            raise damaged("bytes follow the end of its pickle")
        for storage in self._storages.all():
            entry = self._entries.get(f"data/{storage.key}")
            if entry is None:
                raise damaged(f"the record data/{storage.key[:40]} is missing")
            if entry.size != self._storages.length(storage):
                raise damaged(
                    f"the record data/{storage.key[:40]} has {entry.size} bytes for {storage.count} numbers"
                )
        return value

    def storage_bytes(self, key: str) -> bytearray:
        """The bytes of one storage that the object refers to."""
        entry = self._entries[f"data/{key}"]
        return self._bytes_at(self._begins[entry.name], entry.size)

    # ------------------------------------------------------------------------------------------ the directory

    def _bytes_at(self, position: int, count: int) -> bytearray:
        if position < 0 or count < 0 or position + count > self._size:
            raise damaged("its directory points outside the file: it is cut off")
        self._file.seek(position)
        data = bytearray(self._file.read(count))
        if len(data) != count:
            raise damaged("it ends too early")
        return data

    def _directory(self) -> list[_Entry]:
        begin, length, count = self._end_record()
        if count > MAX_ZIP_ENTRIES:
            raise damaged(f"{count} records, more than {MAX_ZIP_ENTRIES}")
        data = bytes(self._bytes_at(begin, length))
        entries, position = [], 0
        for _ in range(count):
            entry, position = _central_entry(data, position)
            entries.append(entry)
        if position != length:
            raise damaged("its directory has another length than it says")
        if not entries or len({entry.name for entry in entries}) != len(entries):
            raise damaged("a record occurs twice in its directory, or there is none")
        return entries

    def _end_record(self) -> tuple[int, int, int]:
        """Begin, length and number of entries of the directory, which the last bytes of the file tell."""
        place = self._size - _END.size
        if place < 0:
            raise damaged("it is cut off")
        signature, disk, first_disk, here, count, length, begin, comment = _END.unpack(
            self._bytes_at(place, _END.size)
        )
        if signature != b"PK\x05\x06" or comment:
            raise damaged("the end of the archive is missing: it is cut off, or something was appended")
        if (disk, first_disk) != (0, 0) or here != count:
            raise damaged("it is one part of an archive")
        locator_place = place - _END_64_LOCATOR.size
        if locator_place >= 0:
            locator = _END_64_LOCATOR.unpack(self._bytes_at(locator_place, _END_64_LOCATOR.size))
            if locator[0] == b"PK\x06\x07":
                return self._end_record_64(locator[2], (begin, length, count))
        if _FULL_32 in (length, begin) or count == _FULL_16:
            raise damaged("the end of the archive is incomplete")
        if begin + length != place:
            raise damaged("something lies between its directory and its end")
        return begin, length, count

    def _end_record_64(self, place: int, short: tuple[int, int, int]) -> tuple[int, int, int]:
        values = _END_64.unpack(self._bytes_at(place, _END_64.size))
        count, length, begin = values[7], values[8], values[9]
        limits = (_FULL_32, _FULL_32, _FULL_16)
        agrees = all(
            small in (limit, large)
            for small, large, limit in zip(short, (begin, length, count), limits, strict=True)
        )
        if values[0] != b"PK\x06\x06" or values[6] != count or not agrees or begin + length != place:
            raise damaged("its two end records do not agree")
        return begin, length, count

    def _places(self, entries: list[_Entry]) -> dict[str, int]:
        """Where the data of every record begins; they may not overlap."""
        begins, position = {}, 0
        for entry in sorted(entries, key=lambda entry: entry.local):
            if entry.local < position:
                raise damaged("its records overlap")
            header = _LOCAL.unpack(self._bytes_at(entry.local, _LOCAL.size))
            if header[0] != MAGIC or header[3] or header[2] & ~_ALLOWED_FLAGS:
                raise damaged(f"the record {entry.name[:80]!r} is compressed, encrypted or not there")
            name = self._bytes_at(entry.local + _LOCAL.size, header[9])
            if bytes(name) != entry.name.encode("utf-8"):
                raise damaged(f"the record {entry.name[:80]!r} has another name in its own header")
            begins[entry.name] = entry.local + _LOCAL.size + header[9] + header[10]
            position = begins[entry.name] + entry.size
            if position > self._size:
                raise damaged(f"the record {entry.name[:80]!r} goes beyond the end of the file")
        return begins

    # ------------------------------------------------------------------------------------------ the records

    def _content(self, name: str, most: int) -> bytes:
        entry = self._entries[name]
        if entry.size > most:
            raise damaged(f"the record {name} has {entry.size} bytes, more than {most}")
        data = bytes(self._bytes_at(self._begins[entry.name], entry.size))
        if zlib.crc32(data) != entry.crc:
            raise damaged(f"the checksum of the record {name} is wrong")
        return data

    def _check(self, name: str) -> None:
        entry, crc = self._entries[name], 0
        self._file.seek(self._begins[entry.name])
        left = entry.size
        while left:
            chunk = self._file.read(min(left, _CHUNK))
            if not chunk:
                raise damaged("it ends too early")
            crc = zlib.crc32(chunk, crc)
            left -= len(chunk)
        if crc != entry.crc:
            raise damaged(f"the checksum of the record {name[:80]!r} is wrong: bits have changed")


def _central_entry(data: bytes, position: int) -> tuple[_Entry, int]:
    end = position + _CENTRAL.size
    if end > len(data):
        raise damaged("its directory ends too early")
    fields = _CENTRAL.unpack_from(data, position)
    signature, flags, method, crc = fields[0], fields[3], fields[4], fields[7]
    packed, size, lengths, local = fields[8], fields[9], fields[10:13], fields[16]
    after = end + sum(lengths)
    if signature != b"PK\x01\x02" or after > len(data):
        raise damaged("its directory is unreadable")
    name = _record_name(data[end : end + lengths[0]])
    extra = data[end + lengths[0] : end + lengths[0] + lengths[1]]
    size, packed, local = _wide_numbers(extra, [size, packed, local])
    return _Entry(name, crc, size, local, flags, method, packed), after


def _check_stored(entry: _Entry) -> None:
    if entry.method:
        raise damaged(f"the record {entry.name[:80]!r} is compressed")
    if entry.flags & ~_ALLOWED_FLAGS:
        raise damaged(f"the record {entry.name[:80]!r} is encrypted or of an unknown kind")
    if entry.packed != entry.size:
        raise damaged(f"the record {entry.name[:80]!r} has two sizes")


def _record_name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise damaged("a record's name is not UTF-8") from None
    if "\\" in name or "\0" in name or ".." in name.split("/") or name.startswith("/"):
        raise damaged(f"the record's name {name[:80]!r} leads out of the archive")
    return name


def _wide_numbers(extra: bytes, numbers: list[int]) -> list[int]:
    """Numbers that do not fit into 32 bits are in a block of kind 1 of the extra bytes, in this order."""
    if _FULL_32 not in numbers:
        return numbers
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        block = extra[position + 4 : position + 4 + length]
        position += 4 + length
        if kind == 1:
            wide = [int.from_bytes(block[at : at + 8], "little") for at in range(0, len(block) - 7, 8)]
            missing = [at for at, number in enumerate(numbers) if number == _FULL_32]
            if len(wide) < len(missing):
                break
            return [wide[missing.index(at)] if at in missing else number for at, number in enumerate(numbers)]
    raise damaged("its directory lacks a size")


def _without_root(entries: list[_Entry]) -> dict[str, _Entry]:
    roots = {entry.name.partition("/")[0] for entry in entries}
    if len(roots) != 1 or "" in roots:
        raise damaged("its records have no common folder")
    return {entry.name.partition("/")[2]: entry for entry in entries}


def _refuse_other_archives(names: list[str]) -> None:
    below = {name.partition("/")[2] for name in names}
    if "constants.pkl" in below or any(name.startswith("code/") for name in below):
        raise CheckpointError(
            "is a TorchScript program, not a checkpoint",
            fix="import the .pt file that it was exported from",
        )
    if "data.pkl" not in below:
        raise CheckpointError(
            "is a zip archive, but none of torch.save", fix="unpack it, and name the .pt file itself"
        )
