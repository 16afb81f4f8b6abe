"""ncnn folders: a small network written by hand, and what must not be in one."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.exported.ncnn import GRAPH_FILE, HALF_TAG, SINGLE_TAG, WEIGHTS_FILE, read_ncnn
from vedette.errors import CheckpointError

# Strides 8 and 16, 2 anchors, 2 classes: 14 channels.
GRAPH = """7767517
8 10
Input in0 0 1 in0
Convolution c0 1 1 in0 1 0=4 1=8 11=8 12=1 13=8 14=0 2=1 3=8 4=0 5=1 6=768 9=2 -23310=1,0.1
Split s0 1 3 1 2 3 4
Pooling p0 1 1 3 5 0=0 1=2 11=2 12=2 13=0 2=2 3=0 5=1
Interp i0 1 1 5 6 0=1 1=2.0 2=2.0 6=0
Concat k0 2 1 6 4 7 0=0
Convolution c1 1 1 7 out0 0=14 1=1 11=1 5=0 6=112
Convolution c2 1 1 2 out1 0=14 1=3 11=3 3=2 13=2 4=1 14=1 15=1 16=1 5=0 6=504
"""


def weights():
    parts = [SINGLE_TAG, np.ones(768 + 4, "<f4").tobytes()]
    parts += [HALF_TAG, np.ones(112, "<f2").tobytes()]
    parts += [SINGLE_TAG, np.ones(504, "<f4").tobytes()]
    return b"".join(parts)


def read(folder, graph=GRAPH, content=None, **changes):
    folder.mkdir(exist_ok=True)
    contract = small_contract(format="ncnn", output="planes", **changes)
    (folder / "vedette.json").write_text(contract.to_json())
    (folder / GRAPH_FILE).write_bytes(graph if isinstance(graph, bytes) else graph.encode())
    (folder / WEIGHTS_FILE).write_bytes(weights() if content is None else content)
    return read_ncnn(folder)


def test_contract_graph_and_weights_come_back(tmp_path):
    exported = read(tmp_path / "best_ncnn_model")
    assert exported.contract == small_contract(format="ncnn", output="planes")
    assert exported.parts == {"model": GRAPH.encode(), "weights": weights()}


LAYER = "has a layer that no detector needs"
CHANGES = {
    "another format": ("no graph of ncnn", "7767517", "7767518"),
    "number of layers": ("other numbers of layers", "8 10", "9 10"),
    "number of blobs": ("other numbers of layers", "8 10", "8 11"),
    "no layer": ("a line that is no layer", "Split s0 1 3", "Split s0 x 3"),
    "layer that reads memory": (LAYER, "Interp i0", "MemoryData i0"),
    "name": ("missing or odd names", "Concat k0", "Concat k;0"),
    "unknown map": ("twice or before it is made", "Concat k0 2 1 6 4", "Concat k0 2 1 6 9"),
    "map made twice": ("makes '2' twice", "1 2 3 4", "1 2 2 4"),
    "setting": ("a setting that is no number", "0=1 1=2.0", "0=x 1=2.0"),
    "setting twice": ("a setting that is no number", "0=1 1=2.0", "0=1 0=1 1=2.0"),
    "setting with a wrong array": ("a setting that is no number", "-23310=1,0.1", "-23310=2,0.1"),
    "factor": (LAYER, "1=2.0 2=2.0", "1=1e9 2=2.0"),
    "maps of other sizes": (LAYER, "1=2.0 2=2.0", "1=3.0 2=2.0"),
    "axis": (LAYER, "Concat k0 2 1 6 4 7 0=0", "Concat k0 2 1 6 4 7 0=1"),
    "number of weights": (LAYER, "6=768", "6=769"),
    "activation": (LAYER, "9=2", "9=3"),
    "groups": (LAYER, "6=504", "6=504 7=5"),
    "padding": (LAYER, "4=1 14=1", "4=-233 14=1"),
    "channels": (LAYER, "out0 0=14", "out0 0=900000000"),
    "rounding of a pool": (LAYER, "3=0 5=1", "3=0 5=0"),
    "outputs": ("other maps than its contract says", "out0 0=14", "out9 0=14"),
    "input": ("does not begin with its input", "Input in0 0 1 in0", "Input in0 0 1 x"),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_what_a_detector_never_needs_is_refused(tmp_path, name):
    reason, old, new = CHANGES[name]
    assert GRAPH.count(old) == 1
    with pytest.raises(CheckpointError, match=reason):
        read(tmp_path / "best_ncnn_model", GRAPH.replace(old, new))


@pytest.mark.parametrize("length", [0, 3, 100, len(weights()) - 4, len(weights()) + 4])
def test_weights_of_another_length_are_refused(tmp_path, length):
    content = (weights() + bytes(8))[:length]
    with pytest.raises(CheckpointError):
        read(tmp_path / "best_ncnn_model", content=content)


def test_weights_of_another_number_format_are_refused(tmp_path):
    content = struct.pack("<I", 0x000D4B38) + weights()[4:]
    with pytest.raises(CheckpointError, match="another number format"):
        read(tmp_path / "best_ncnn_model", content=content)


def test_a_contract_of_other_classes_or_formats_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="other maps than its contract says"):
        read(tmp_path / "a_ncnn_model", class_names=("red", "blue", "green"))
    folder = tmp_path / "b_ncnn_model"
    read(folder)
    (folder / "vedette.json").write_text(small_contract().to_json())
    with pytest.raises(CheckpointError, match="belongs to a file of format 'onnx'"):
        read_ncnn(folder)


def test_missing_files_are_named(tmp_path):
    folder = tmp_path / "best_ncnn_model"
    read(folder)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"model\.ncnn\.bin"):
        read_ncnn(folder)


@settings(deadline=None)
@given(st.integers(0, len(GRAPH) - 1), st.integers(0, 255))
def test_any_changed_byte_is_read_or_refused(tmp_path_factory, place, value):
    graph = bytearray(GRAPH.encode())
    graph[place] = value
    try:
        read(tmp_path_factory.getbasetemp() / "fuzzed_ncnn_model", bytes(graph))
    except CheckpointError:
        return
