from __future__ import annotations

import io
import struct

import pytest

from tests.checkpoint.legacy.archives import by_hand, program, stored
from vedette.checkpoint.legacy import container_zip
from vedette.checkpoint.legacy.container_zip import ZipContainer
from vedette.errors import CheckpointError

GOOD = [(b"a/data.pkl", program(b"K\x07")), (b"a/version", b"3\n")]


def read(data: bytes) -> object:
    return ZipContainer(io.BytesIO(data), len(data)).read()


def with_wide_end(data: bytes, *, count: int | None = None, masked: bool = True) -> bytes:
    """The same archive with the end records that files over 4 GB have; torch writes them always in some versions."""
    _, _, _, _, number, length, begin, _ = struct.unpack("<4s4H2IH", data[-22:])
    place = len(data) - 22
    wide = struct.pack(
        "<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count or number, count or number, length, begin
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, place, 1)
    full = (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF) if masked else (number, length, begin)
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, full[0], full[0], full[1], full[2], 0)
    return data[:place] + wide + locator + end


def test_archives_of_any_writer() -> None:
    assert read(by_hand(GOOD)) == 7
    assert read(by_hand(GOOD, flags=0x0808)) == 7
    assert read(stored({"data.pkl": program(b"K\x07"), "byteorder": b"little", "unknown": b"x"})) == 7


@pytest.mark.parametrize("masked", [True, False])
def test_end_records_of_large_files(masked: bool) -> None:
    assert read(with_wide_end(by_hand(GOOD), masked=masked)) == 7
    with pytest.raises(CheckpointError, match=r"do not agree|another length|ends too early"):
        read(with_wide_end(by_hand(GOOD), masked=masked, count=3))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (by_hand(GOOD)[:-1], "cut off"),
        (by_hand(GOOD) + b"x", "appended"),
        (by_hand(GOOD)[:-2] + b"\1\0", "appended"),
        (b"PK", "cut off"),
        (by_hand([*GOOD, (b"b/x", b"")]), "no common folder"),
        (by_hand([*GOOD, (b"a\\x", b"")]), "leads out"),
        (by_hand([*GOOD, (b"a/\xff", b"")]), "not UTF-8"),
        (by_hand(GOOD, flags=0x2000), "encrypted or of an unknown kind"),
        (by_hand(GOOD).replace(b"PK\x03\x04", b"PK\x03\x05", 1), "compressed, encrypted or not there"),
        (by_hand(GOOD).replace(b"a/version", b"a/versiom", 1), "another name in its own header"),
        (by_hand(GOOD, crc_error=1), "checksum"),
    ],
)
def test_refusals(data: bytes, expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected):
        read(data)


def test_the_number_of_records_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_zip, "MAX_ZIP_ENTRIES", 1)
    with pytest.raises(CheckpointError, match="2 records, more than 1"):
        read(by_hand(GOOD))
