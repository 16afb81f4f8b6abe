import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.exported.onnx import read_onnx
from vedette.errors import CheckpointError


def model(**changes):
    """A graph of one convolution, as plain as can be, with a contract."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [2.0])
    nodes = changes.pop("nodes", [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 2, 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], **changes)
    entry = made.metadata_props.add()
    entry.key, entry.value = "vedette", small_contract().to_json()
    return made


def read(made, tmp_path):
    path = tmp_path / "best.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return read_onnx(path)


def test_contract_and_bytes_come_back(tmp_path):
    made = model()
    exported = read(made, tmp_path)
    assert exported.contract == small_contract()
    assert exported.parts == {"model": made.SerializeToString()}


def external(made):
    tensor = made.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def external_in_attribute(made):
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    entry = value.external_data.add()
    entry.key, entry.value = "location", "secret.bin"
    made.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))


def foreign_operator(made):
    made.graph.node.append(helper.make_node("EPContext", ["x"], ["c"], domain="com.microsoft"))


def subgraph(made):
    body = helper.make_graph([], "body", [], [])
    made.graph.node.append(helper.make_node("If", ["x"], ["c"], then_branch=body, else_branch=body))


def function(made):
    made.functions.append(helper.make_function("", "F", ["a"], ["b"], [], [helper.make_opsetid("", 18)]))


def no_contract(made):
    del made.metadata_props[:]


def two_contracts(made):
    made.metadata_props.append(made.metadata_props[0])


def code_for_a_contract(made):
    made.metadata_props[0].value = "__import__('os').system('touch canary')"


def names_that_are_code(made):
    made.metadata_props[0].value = "{\"names\": \"__import__('os').system('touch canary')\"}"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (external, "takes weights from another file"),
        (external_in_attribute, "takes weights from another file"),
        (foreign_operator, r"operators beyond the standard \('com.microsoft'\)"),
        (
            lambda made: made.opset_import.append(helper.make_opsetid("evil", 1)),
            "operators beyond the standard",
        ),
        (subgraph, "holds a graph within its graph"),
        (function, r"a part that no detector needs \(field 25\)"),
        (lambda made: made.training_info.add(), r"no detector needs \(field 20\)"),
        (lambda made: made.graph.sparse_initializer.add(), "sparse"),
        (no_contract, "was not exported by vedette"),
        (two_contracts, "has its metadata twice"),
        (code_for_a_contract, "not readable JSON"),
        (names_that_are_code, "its metadata is not of vedette"),
    ],
)
def test_what_no_detector_needs_is_refused(change, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = model()
    change(made)
    with pytest.raises(CheckpointError, match=text):
        read(made, tmp_path)
    assert not (tmp_path / "canary").exists()


def test_other_formats_are_refused(tmp_path):
    made = model()
    made.metadata_props[0].value = small_contract(format="openvino").to_json()
    with pytest.raises(CheckpointError, match="belongs to a file of format 'openvino'"):
        read(made, tmp_path)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "is no ONNX model"),
        (b"\x08", "is cut off"),
        (b"\x0b\x0c", "no readable ONNX"),
        (b"\xff" * 20, "no readable ONNX"),
        (b"\x3a\xff\xff\xff\xff\x0f", "is cut off"),
        (b"\x38\x01", "no readable ONNX"),
    ],
)
def test_other_bytes_are_refused(raw, text, tmp_path):
    with pytest.raises(CheckpointError, match=text):
        read(raw, tmp_path)


def test_the_number_of_parts_is_bounded(tmp_path, monkeypatch):
    from vedette.checkpoint.exported import onnx as reader

    monkeypatch.setattr(reader, "_MAX_FIELDS", 100)
    with pytest.raises(CheckpointError, match="has more than 100 parts"):
        read(b"\x08\x00" * 101, tmp_path)


def test_missing_and_huge_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_onnx(tmp_path / "none.onnx")
    with pytest.raises(CheckpointError, match="no regular file"):
        read_onnx(tmp_path)


RAW = model().SerializeToString()


@given(place=st.integers(0, len(RAW) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_damage_is_found_or_harmless(place, value, cut, tmp_path_factory):
    """A changed byte is refused by our error or read; nothing else is ever raised."""
    damaged = bytearray(RAW[:place] if cut else RAW)
    if not cut:
        damaged[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.onnx"
    path.write_bytes(damaged)
    try:
        exported = read_onnx(path)
    except CheckpointError:
        return
    assert exported.contract.format == "onnx"


def test_the_walk_sees_what_the_parser_sees():
    """The field numbers are those of the format: every part that is looked at has that number there."""
    numbers = {
        "ModelProto": {
            "graph": 7,
            "opset_import": 8,
            "metadata_props": 14,
            "training_info": 20,
            "functions": 25,
        },
        "GraphProto": {"node": 1, "initializer": 5, "sparse_initializer": 15},
        "NodeProto": {"attribute": 5, "domain": 7},
        "AttributeProto": {
            "t": 5,
            "g": 6,
            "tensors": 10,
            "graphs": 11,
            "sparse_tensor": 22,
            "sparse_tensors": 23,
        },
        "TensorProto": {"external_data": 13, "data_location": 14},
        "OperatorSetIdProto": {"domain": 1},
    }
    for message, fields in numbers.items():
        described = getattr(onnx, message).DESCRIPTOR.fields_by_name
        assert {name: described[name].number for name in fields} == fields
