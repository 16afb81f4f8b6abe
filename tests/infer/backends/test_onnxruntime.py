import onnx
import pytest

from vedette.errors import CheckpointError, UsageError
from vedette.infer.backends.onnxruntime import open_onnx


def test_facts(exports):
    backend = open_onnx(exports.path("onnx"), device="cpu", threads=1)
    assert (backend.device, backend.precision, backend.classes) == ("cpu", "float32", 3)
    assert backend.run.__self__.contract.format == "onnx"


def test_devices_and_precisions_that_are_not_there(exports):
    path = exports.path("onnx")
    for device in ("mps", "cuda:x", "7"):
        with pytest.raises(UsageError, match="installed ONNX Runtime cannot use it"):
            open_onnx(path, device=device)
    with pytest.raises(UsageError, match="was exported as float32"):
        open_onnx(path, precision="bf16")


def test_a_graph_that_cannot_run_is_refused(exports, tmp_path):
    model = onnx.load(exports.path("onnx"))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, tmp_path / "best.onnx")
    with pytest.raises(CheckpointError, match="ONNX Runtime cannot open it"):
        open_onnx(tmp_path / "best.onnx")
