import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vedette.export.onnx_int8 import output_convolutions, quantize_onnx


@pytest.fixture(scope="module")
def model():
    """Frames, a convolution, one more as the output."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w0", (8, 3, 3, 3)), ("w1", (4, 8, 1, 1)))
    ]
    nodes = [
        helper.make_node("Transpose", ["frames"], ["nchw"], perm=[0, 3, 1, 2], name="order"),
        helper.make_node("Cast", ["nchw"], ["x"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Conv", ["x", "w0"], ["y"], pads=[1, 1, 1, 1], name="first"),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
        helper.make_node("Conv", ["z", "w1"], ["planes"], name="last"),
        helper.make_node("Transpose", ["planes"], ["cells"], perm=[0, 2, 3, 1], name="back"),
    ]
    ends = [
        helper.make_tensor_value_info("frames", TensorProto.UINT8, ["b", 16, 16, 3]),
        helper.make_tensor_value_info("cells", TensorProto.FLOAT, ["b", 16, 16, 4]),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_output_convolutions_are_found(model):
    assert output_convolutions(model) == ["last"]


def test_what_makes_the_map_of_a_layer_is_no_output_convolution(model):
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    shown.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["b", 8, 16, 16]))
    assert output_convolutions(shown) == ["first", "last"]
    assert output_convolutions(shown, 1) == ["last"]
    frames = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    types = {t.name: t.data_type for t in quantize_onnx(shown, frames, 1, 1).graph.initializer}
    assert types["w1"] == TensorProto.FLOAT
    assert "w0" not in types


@pytest.mark.parametrize("batch_size", [None, 2])
def test_convolutions_are_on_integers_but_those_of_the_outputs(model, batch_size, tmp_path, capsys):
    import onnxruntime

    frames = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    quantized = quantize_onnx(model, frames, batch_size)
    assert capsys.readouterr().out == ""
    assert {node.domain for node in quantized.graph.node} <= {"", "ai.onnx"}
    types = {tensor.name: tensor.data_type for tensor in quantized.graph.initializer}
    assert TensorProto.INT8 in types.values()
    assert types["w1"] == TensorProto.FLOAT
    assert "w0" not in types
    session = onnxruntime.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
    plain = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,), (expected,) = (one.run(None, {"frames": frames[:2]}) for one in (session, plain))
    assert 0 < np.abs(found - expected).max() < 0.05 * np.ptp(expected)
    onnx.checker.check_model(quantized)
