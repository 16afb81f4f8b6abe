"""Archives and pickles made by hand: what a stranger can write."""

from __future__ import annotations

import csv
import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from tests.conftest import GOLDEN
from vedette.checkpoint.legacy.read import read_legacy
from vedette.errors import CheckpointError

SYSTEM = b"cposix\nsystem\n"


def published_tensors(file: str) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and type of every tensor of a published model, from golden state_dicts/."""
    with (GOLDEN / "state_dicts" / file).open(encoding="utf-8", newline="") as lines:
        rows = [(row["key"], row["shape"], row["dtype"]) for row in csv.DictReader(lines)]
    return [
        (key, () if shape == "scalar" else tuple(map(int, shape.split("x"))), dtype)
        for key, shape, dtype in rows
    ]


def refusal(path: Path, content: bytes | None = None) -> str:
    """What the reader says about a file that it refuses."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_legacy(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def text(value: str) -> bytes:
    """The instruction that pushes a text."""
    raw = value.encode("utf-8")
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    """The instruction that pushes a number."""
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    """Instructions that call a function with pushed arguments."""
    return f"c{module}\n{attribute}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def storage(key: str = "0", kind: str = "FloatStorage", count: int = 4, module: str = "torch") -> bytes:
    """A reference to a storage."""
    parts = (text("storage"), f"c{module}\n{kind}\n".encode(), text(key), text("cpu"), integer(count))
    return b"(" + b"".join(parts) + b"tQ"


def tensor(
    size: tuple[int, ...] = (4,), stride: tuple[int, ...] = (1,), offset: int = 0, place: bytes = b""
) -> bytes:
    """A tensor over a storage."""
    sizes, strides = (b"(" + b"".join(map(integer, numbers)) + b"t" for numbers in (size, stride))
    hooks = b"ccollections\nOrderedDict\n)R"
    return call(
        "torch._utils",
        "_rebuild_tensor_v2",
        place or storage(),
        integer(offset),
        sizes,
        strides,
        b"\x89",
        hooks,
    )


def program(body: bytes) -> bytes:
    """A pickle of one value."""
    return b"\x80\x02" + body + b"."


def dictionary(**entries: bytes) -> bytes:
    """Instructions that make a dictionary."""
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def tensors_file(value: bytes, numbers: bytes = b"\0" * 16) -> bytes:
    """An archive whose only entry is a network of one tensor."""
    return stored({"data.pkl": program(dictionary(model=dictionary(weight=value))), "data/0": numbers})


def stored(records: dict[str, bytes], *, method: int = zipfile.ZIP_STORED, root: str = "archive/") -> bytes:
    """An archive of records as torch writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(root + name, content)
    return buffer.getvalue()


def records_of(path: Path) -> dict[str, bytes]:
    """The records of an archive, without the name of its folder."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def by_hand(
    records: list[tuple[bytes, bytes]], *, flags: int = 0, size_error: int = 0, crc_error: int = 0
) -> bytes:
    """An archive whose headers may lie: names twice, names that lead elsewhere, other sizes, other checksums."""
    out, central = b"", b""
    for name, content in records:
        crc = zlib.crc32(content) ^ crc_error
        sizes = (max(len(content) + size_error, 0),) * 2
        begin = len(out)
        out += (
            struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, flags, 0, 0, 0, crc, *sizes, len(name), 0)
            + name
            + content
        )
        central += (
            struct.pack(
                "<4s6H3I5H2I",
                b"PK\x01\x02",
                20,
                20,
                flags,
                0,
                0,
                0,
                crc,
                *sizes,
                len(name),
                0,
                0,
                0,
                0,
                0,
                begin,
            )
            + name
        )
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, len(records), len(records), len(central), len(out), 0)
    return out + central + end
