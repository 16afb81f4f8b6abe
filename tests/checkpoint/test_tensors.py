import hashlib
import json
import os
import random
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.checkpoint.test_atomic import FailingDisk
from vedette.checkpoint.tensors import read_tensors, weights_sha256, write_tensors
from vedette.errors import CheckpointError, WriteError

METADATA = {"name": "kéy \U0001f600 <&>", "numbers": [1, 2.5, None, True], "nested": {"deep": {"er": []}}}


def every_kind():
    generator = torch.Generator().manual_seed(0)
    floats = torch.randn(3, 4, 5, generator=generator)
    return {
        "model.0.weight": floats,
        "model.0.view": floats.permute(2, 0, 1)[1:],
        "channels_last": torch.randn(1, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last),
        "double": floats.double(),
        "half": floats.half(),
        "brain": floats.bfloat16(),
        "scalar": torch.tensor(7),
        "small": torch.arange(-3, 4, dtype=torch.int8),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
        "empty": torch.zeros(0, 4),
        "empty.too": torch.zeros(3, 0, dtype=torch.int32),
        "trained": torch.nn.Parameter(torch.ones(2)),
        "ümlaut\n": torch.tensor([1.0]),
    }


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert ours[name].shape == tensor.shape, name
        assert torch.equal(ours[name], tensor.detach()), name


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, every_kind(), METADATA)
    tensors, metadata = read_tensors(path)
    same(tensors, every_kind())
    assert metadata == METADATA
    path.unlink()  # no handle stays open, which Windows would refuse here
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in tensors.values())
    tensors["model.0.weight"].add_(1)


def test_other_safetensors_readers_open_it(tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, every_kind(), METADATA)
    same(load_file(path), every_kind())


def test_no_tensors_and_no_metadata(tmp_path):
    path = tmp_path / "state.safetensors"
    write_tensors(path, {}, {})
    assert read_tensors(path) == ({}, {})


def test_the_same_contents_give_the_same_bytes(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    write_tensors(first, every_kind(), METADATA)
    write_tensors(second, dict(reversed(every_kind().items())), METADATA)
    assert first.read_bytes() == second.read_bytes()


def small_file(path):
    tensors = {
        "w": torch.arange(12.0).view(3, 4),
        "é": torch.tensor([1, 2]),
        "f": torch.tensor([True, False]),
    }
    write_tensors(path, tensors, {"step": 7, "note": 'ünïcode "quoted" \\ text'})
    return path.read_bytes()


def test_a_thousand_flipped_bits_are_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    good = small_file(path)
    chosen = random.Random(0).sample(range(len(good) * 8), 1000)
    for bit in chosen:
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            read_tensors(path)
    path.write_bytes(good)
    read_tensors(path)


def test_four_hundred_truncations_are_refused(tmp_path):
    path = tmp_path / "state.safetensors"
    good = small_file(path)
    for length in [*range(0, 200), *random.Random(1).sample(range(200, len(good)), 200)]:
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointError):
            read_tensors(path)
    path.write_bytes(good + b"\0")
    with pytest.raises(CheckpointError):
        read_tensors(path)


def seal(header, data=b""):
    """A file with a right checksum around whatever a stranger puts in."""
    block = header.setdefault("__metadata__", {})
    block.update(
        {"format": "pt", "schema": block.get("schema", "1"), "metadata": block.get("metadata", "{}")}
    )
    block["sha256"] = "0" * 64
    text = json.dumps(header).encode()
    blank = struct.pack("<Q", len(text)) + text + data
    return blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_the_sealing_of_this_test_is_right(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(seal({"w": entry()}, b"\0" * 8))
    assert torch.equal(read_tensors(path)[0]["w"], torch.zeros(2))


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"w": entry(offsets=(0, 4))}, b"\0" * 4),
        ({"w": entry(), "v": entry()}, b"\0" * 8),
        ({"w": entry(offsets=(8, 16))}, b"\0" * 16),
        ({"w": entry()}, b"\0" * 16),
        ({"w": entry(dtype="F31")}, b"\0" * 8),
        ({"w": entry(dtype=["F32"])}, b"\0" * 8),
        ({"w": entry(shape=(-1, -2))}, b"\0" * 8),
        ({"w": entry(shape=(2.0,))}, b"\0" * 8),
        ({"w": entry(shape=(True, 2))}, b"\0" * 8),
        ({"w": entry(shape=(1 << 40, 1 << 40, 1 << 40))}, b"\0" * 8),
        ({"w": entry(shape=(0, 1 << 61), offsets=(0, 0))}, b""),
        ({"w": entry(shape=(1,) * 99 + (2,))}, b"\0" * 8),
        ({"w": entry(offsets=(8, 0))}, b"\0" * 8),
        ({"w": entry(offsets=(0, 8, 16))}, b"\0" * 8),
        ({"w": entry(offsets=(0, 10**30))}, b"\0" * 8),
        ({"w": [1, 2]}, b""),
        ({"w": None}, b""),
        ({"w" * 600: entry()}, b"\0" * 8),
        ({"__metadata__": {"schema": "2"}}, b""),
        ({"__metadata__": {"metadata": "[1]"}}, b""),
        ({"__metadata__": {"metadata": "{"}}, b""),
        ({"__metadata__": {"metadata": '{"a": NaN}'}}, b""),
        ({"__metadata__": {"metadata": '{"a": 1, "a": 2}'}}, b""),
        ({"__metadata__": {"metadata": "[" * 100_000}}, b""),
    ],
)
def test_hostile_headers_are_refused(tmp_path, header, data):
    path = tmp_path / "state.safetensors"
    path.write_bytes(seal(header, data))
    with pytest.raises(CheckpointError):
        read_tensors(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a zip",
        b"\x80\x02}q\x00.",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe{}",
        struct.pack("<Q", 200_000) + b"[" * 200_000,
        struct.pack("<Q", 21) + b'{"__metadata__": null}'[:21],
        struct.pack("<Q", 37) + b'{"__metadata__": {"format": "pt"}}   ',
    ],
)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_tensors(path)


def test_a_header_over_the_limit_is_refused_unread(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(struct.pack("<Q", 17 * 2**20) + b" " * (17 * 2**20))
    with pytest.raises(CheckpointError, match="impossible length"):
        read_tensors(path)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_with_one_error_type(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    with pytest.raises(CheckpointError):
        read_tensors(path)


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_tensors(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_tensors(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(CheckpointError, match="no regular file"):
            read_tensors(tmp_path / "pipe")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_non_finite_weights_are_not_written_unless_asked(tmp_path, value, dtype):
    path = tmp_path / "state.safetensors"
    tensors = {"fine": torch.ones(2), "model.3.weight": torch.tensor([1.0, value], dtype=dtype)}
    with pytest.raises(CheckpointError, match=r"model\.3\.weight: holds NaN or infinity"):
        write_tensors(path, tensors, {})
    assert list(tmp_path.iterdir()) == []
    write_tensors(path, tensors, {}, allow_nonfinite=True)
    loaded = read_tensors(path)[0]["model.3.weight"]
    torch.testing.assert_close(loaded, tensors["model.3.weight"], equal_nan=True)


@pytest.mark.parametrize(
    ("tensors", "metadata", "text"),
    [
        ({"": torch.ones(1)}, {}, "no name"),
        ({"__metadata__": torch.ones(1)}, {}, "no name"),
        ({"n" * 513: torch.ones(1)}, {}, "no name"),
        ({"c": torch.ones(1, dtype=torch.complex64)}, {}, "complex64"),
        ({}, {"a": float("nan")}, "not JSON"),
        ({}, {"a": object()}, "not JSON"),
        ({}, {"a": "x" * (17 * 2**20)}, "more than"),
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path, tensors, metadata, text):
    with pytest.raises(CheckpointError, match=text):
        write_tensors(tmp_path / "state.safetensors", tensors, metadata)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_any_call_leaves_a_file_that_loads(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    disk = FailingDisk(monkeypatch)
    seen = set()
    for number in range(1, 100):
        disk.fail_call(0)
        write_tensors(path, {"w": torch.zeros(3000)}, {"step": 0})
        disk.fail_call(number)
        try:
            write_tensors(path, {"w": torch.ones(3000)}, {"step": 1})
        except WriteError:
            tensors, metadata = read_tensors(path)
            assert torch.equal(tensors["w"], torch.full((3000,), float(metadata["step"])))
            assert list(tmp_path.iterdir()) == [path]
            seen.add(metadata["step"])
            continue
        assert number > 6
        assert seen == {0, 1}  # 1: only flushing the folder failed
        return
    raise AssertionError("the writer never got through")


def test_the_fingerprint_is_the_documented_one():
    weights = torch.tensor([[1.5, -2.0], [0.0, 3.25]])
    tensors = {"b": weights.T, "a": torch.tensor(3), "é": torch.tensor([0.5], dtype=torch.float16)}
    expected = hashlib.sha256(
        b"a"
        + struct.pack("<f", 3.0)
        + b"b"
        + struct.pack("<4f", 1.5, 0.0, -2.0, 3.25)
        + "é".encode()
        + struct.pack("<f", 0.5)
    ).hexdigest()
    assert weights_sha256(tensors) == expected
    assert weights_sha256({**tensors, "b": weights}) != expected
