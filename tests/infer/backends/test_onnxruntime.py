from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest

from vedette.errors import CheckpointError, UsageError
from vedette.infer.backends.onnxruntime import open_onnx, session_options


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


@pytest.mark.parametrize(("threads", "lanes"), [(3, 3), (4, 2), (1, 1)])
def test_lanes_find_what_one_finds(exports, threads, lanes):
    path = exports.path("onnx")
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (1, 96, 128, 3), dtype=np.uint8) for _ in range(6)]
    one = open_onnx(path, device="cpu", threads=1)
    backend = open_onnx(path, device="cpu", threads=threads, lanes=lanes)
    with ThreadPoolExecutor(lanes) as pool:
        kept = list(pool.map(backend.run, frames))
    for found, frame in zip(kept, frames, strict=True):
        # Pixels; the weights amplify sums, whose order depends on the number of threads.
        np.testing.assert_allclose(found.decoded(), one.run(frame).decoded(), atol=0.1, rtol=5e-3)


@pytest.mark.parametrize(
    ("threads", "lanes", "pool", "spinning"),
    [(8, 1, 8, None), (8, 3, 6, "0"), (2, 2, 1, "0"), (1, 2, 1, "0")],
)
def test_threads_and_callers_are_as_many_as_asked_for(threads, lanes, pool, spinning):
    options = session_options(onnxruntime, threads, lanes)
    assert options.intra_op_num_threads == pool, "who calls is one of them"
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    if spinning is not None:
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == spinning
