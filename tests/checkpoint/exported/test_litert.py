"""LiteRT files: a message written by hand, and what must not be in one."""

import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.exported.litert import read_litert, with_contract
from vedette.errors import CheckpointError


def table(fields):
    """A FlatBuffers table whose fields (number -> (form, value)) are of four or eight bytes each, table first."""
    size = 4 + sum(struct.calcsize(form) for form, _ in fields.values())
    offsets, body = [0] * (max(fields, default=-1) + 1), b""
    for number, (form, value) in fields.items():
        offsets[number] = 4 + len(body)
        body += struct.pack(form, value)
    names = struct.pack(f"<HH{len(offsets)}H", 4 + 2 * len(offsets), size, *offsets)
    return struct.pack("<i", -size) + body + names


def message(version=3, graphs=1, code=3, custom=False, offset=0):
    """A model with one operator code, some graphs and one buffer; without anything in the graphs."""
    operator = table({0: ("<i", min(code, 127)), 3: ("<i", code), **({1: ("<I", 4)} if custom else {})})
    buffer = table({1: ("<Q", offset), 2: ("<Q", offset)})
    head = 8
    root = table({0: ("<I", version), 1: ("<I", 0), 2: ("<I", 0), 4: ("<I", 0)})
    parts, place = [], head + len(root)
    where = {}
    for number, items in ((1, [operator]), (2, [table({})] * graphs), (4, [buffer])):
        where[number] = place
        start = place + 4 + 4 * len(items)
        vector = struct.pack("<I", len(items))
        for index, item in enumerate(items):
            vector += struct.pack("<I", start - (place + 4 + 4 * index))
            start += len(item)
        parts.append(vector + b"".join(items))
        place += len(parts[-1])
    fields = {number: head + 4 + 4 * index for index, number in enumerate((0, 1, 2, 4))}
    relative = {number: ("<I", where[number] - fields[number]) for number in (1, 2, 4)}
    root = table({0: ("<I", version), **relative})
    return struct.pack("<I", head) + b"TFL3" + root + b"".join(parts)


def read(tmp_path, content):
    path = tmp_path / "best.tflite"
    path.write_bytes(content)
    return read_litert(path)


CONTRACT = small_contract(format="litert")


def test_the_contract_comes_back_and_the_runtime_gets_the_message_alone(tmp_path):
    exported = read(tmp_path, with_contract(message(), CONTRACT.to_json()))
    assert exported.contract == CONTRACT
    assert exported.parts == {"model": message()}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 4}, "no single graph"),
        ({"graphs": 2}, "no single graph"),
        ({"graphs": 0}, "no single graph"),
        ({"code": 32}, "operator that no detector needs"),
        ({"code": 129}, "operator that no detector needs"),
        ({"custom": True}, "operator that no detector needs"),
        ({"offset": 4096}, "weights from beyond its end"),
    ],
    ids=str,
)
def test_what_a_detector_never_needs_is_refused(tmp_path, changes, reason):
    with pytest.raises(CheckpointError, match=reason):
        read(tmp_path, with_contract(message(**changes), CONTRACT.to_json()))


def test_foreign_and_damaged_files_are_refused(tmp_path):
    whole = with_contract(message(), CONTRACT.to_json())
    with pytest.raises(CheckpointError, match="no model of LiteRT"):
        read(tmp_path, b"")
    with pytest.raises(CheckpointError, match="was not exported by vedette"):
        read(tmp_path, message())
    with pytest.raises(CheckpointError, match="belongs to a file of format 'onnx'"):
        read(tmp_path, with_contract(message(), small_contract().to_json()))
    with pytest.raises(CheckpointError, match="is damaged"):
        read(tmp_path, struct.pack("<I", 2**31) + whole[4:])


def test_an_archive_that_holds_more_is_not_ours(tmp_path):
    stream = io.BytesIO(message())
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr("vedette.json", CONTRACT.to_json())
        archive.writestr("labels.txt", "red")
    with pytest.raises(CheckpointError, match="was not exported by vedette"):
        read(tmp_path, stream.getvalue())


@settings(deadline=None)
@given(st.integers(8, len(message()) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(tmp_path_factory, place, value):
    raw = bytearray(with_contract(message(), CONTRACT.to_json()))
    raw[place] = value
    try:
        read(tmp_path_factory.getbasetemp(), bytes(raw))
    except CheckpointError:
        return
