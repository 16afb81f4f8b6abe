import pytest

from vedette.errors import CheckpointError, UsageError
from vedette.infer.backends.openvino import open_openvino


def test_facts(exports):
    backend = open_openvino(exports.path("openvino"), threads=1)
    assert (backend.device, backend.precision, backend.classes) == ("cpu", "float32", 3)


def test_float32_may_run_coarser(exports):
    backend = open_openvino(exports.path("openvino"), precision="bf16", threads=1)
    assert backend.precision in ("bf16", "float32")  # what the processor has


def test_devices_that_are_not_there(exports):
    with pytest.raises(UsageError, match=r"no such device here; available: .*cpu"):
        open_openvino(exports.path("openvino"), device="npu")


def test_a_graph_that_cannot_run_is_refused(exports, tmp_path):
    copied = exports.copy("openvino", tmp_path)
    (graph,) = copied.glob("*.xml")
    text = graph.read_text(encoding="utf-8")
    graph.write_text(text.replace('type="Convolution"', 'type="Convulsion"', 1), encoding="utf-8")
    with pytest.raises(CheckpointError, match="OpenVINO cannot open it"):
        open_openvino(copied)
