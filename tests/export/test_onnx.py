from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from tests.model.small_table import small_detector
from vedette.errors import MissingExtraError
from vedette.export.onnx import OPSET, convert_onnx, write_constants_as_tensors
from vedette.model.frame_detector import FrameDetector

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def some_frames(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def session_of(model: object) -> object:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@torch.no_grad()
def run_torch(network: FrameDetector, frames: np.ndarray) -> list[np.ndarray]:
    outputs = network(torch.from_numpy(frames))
    return [output.numpy() for output in ((outputs,) if isinstance(outputs, torch.Tensor) else outputs)]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Float32 sums in another order, over some ten layers."""
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_lists_of_float32_stay_float32() -> None:
    """As torch 2.6 writes them; torch here may write tensors."""
    helper, single = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("Constant", [], ["scales"], value_floats=[1.0, 1.0, 2.0, 2.0])
    output = helper.make_tensor_value_info("scales", single, [4])
    model = helper.make_model(helper.make_graph([node], "constants", [], [output]))
    write_constants_as_tensors(model)
    (attribute,) = model.graph.node[0].attribute
    assert (attribute.name, attribute.t.data_type) == ("value", single)
    assert onnx.numpy_helper.to_array(attribute.t).tolist() == [1.0, 1.0, 2.0, 2.0]
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("output", ["planes", "cells"])
def test_a_model_of_one_shape(output: str) -> None:
    network = FrameDetector(small_detector(), output)  # type: ignore[arg-type]
    model = convert_onnx(network, 2, (64, 96))
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == OPSET
    assert [value.name for value in model.graph.input] == ["frames"]
    assert tuple(value.name for value in model.graph.output) == network.output_names
    frames = some_frames(2, 64, 96)
    assert_close(session_of(model).run(None, {"frames": frames}), run_torch(network, frames))


def test_a_model_of_any_shape() -> None:
    network = FrameDetector(small_detector(), "predictions")
    session = session_of(convert_onnx(network))
    for shape in ((1, 64, 96), (2, 4, 4), (7, 8, 64)):
        frames = some_frames(*shape)
        assert_close(session.run(None, {"frames": frames}), run_torch(network, frames))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    convert_onnx(FrameDetector(small_detector()), 1, (8, 8))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("package", ["onnxslim", "onnxscript"])
def test_missing_packages_are_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=package):
        convert_onnx(FrameDetector(small_detector()), 1, (8, 8))
