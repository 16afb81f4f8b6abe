import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.export.exported_files import SIZE_HW, pictures
from vedette.core.nms import NmsSettings
from vedette.errors import CheckpointError, MissingExtraError
from vedette.infer.backends.files import gains_by_lanes, open_file, runtime_of
from vedette.infer.predictor import Predictor


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ("best.onnx", "onnx"),
        ("BEST.ONNX", "onnx"),
        ("best_openvino_model", "openvino"),
        ("best.xml", "openvino"),
        ("best.torchscript", "torchscript"),
        ("best.torchscript.pt", "torchscript"),
        ("best.pt", ""),
        ("best.safetensors", ""),
        ("yolov5n-voc", ""),
    ],
)
def test_the_name_says_what_runs_a_file(name, runtime, tmp_path):
    assert runtime_of(tmp_path / name) == runtime


def test_a_folder_with_a_graph_is_openvino(tmp_path):
    (tmp_path / "any.xml").touch()
    assert runtime_of(tmp_path) == "openvino"


@pytest.mark.parametrize("name", ["torchscript", "onnx", "openvino"])
def test_a_file_finds_what_its_checkpoint_finds(name, exports):
    nms = NmsSettings(conf_threshold=0.3)
    expected = Predictor.from_file(exports.weights, device="cpu", nms=nms)
    found = Predictor.from_file(exports.path(name), device="cpu", nms=nms, threads=1)
    assert found.class_names == expected.class_names
    assert found.letterbox.size_hw == SIZE_HW
    for picture in pictures(4):
        (first,), (second,) = expected.predict([picture]), found.predict([picture])
        assert len(first)
        np.testing.assert_allclose(
            second.boxes_xyxy_px, first.boxes_xyxy_px, atol=5e-2
        )  # pixels; the weights amplify sums
        np.testing.assert_allclose(second.scores, first.scores, atol=1e-4)
        np.testing.assert_array_equal(second.class_ids, first.class_ids)


def test_only_the_runtime_of_the_file_is_imported(exports):
    program = (
        "import sys; from pathlib import Path; from vedette.infer.backends.files import open_file;"
        f"open_file(Path({str(exports.path('onnx'))!r}), device='cpu');"
        "print([name for name in ('torch', 'openvino', 'onnxruntime', 'onnx') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stdout.strip() == "['onnxruntime']"


def test_missing_files_are_errors_of_ours(tmp_path):
    for name in ("a.onnx", "a_openvino_model", "a.xml", "a.torchscript", "a.safetensors"):
        with pytest.raises(CheckpointError):
            open_file(tmp_path / name, device="cpu")


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("torchscript", "torch", "cpu"),
        ("onnx", "onnxruntime", "onnxruntime"),
        ("openvino", "openvino", "openvino"),
    ],
)
def test_missing_runtimes_are_named(name, package, extra, exports, monkeypatch):
    path = exports.path(name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs the package '{package}'.*vedette\[{extra}\]"):
        open_file(path, device="cpu")


def test_a_checkpoint_needs_torch(exports, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="running a checkpoint needs the package 'torch'"):
        open_file(exports.weights)


def test_which_runtimes_gain_by_lanes(tmp_path):
    gains = {
        name: gains_by_lanes(tmp_path / name)
        for name in ("a.onnx", "a.xml", "a.torchscript", "a.safetensors")
    }
    assert gains == {"a.onnx": True, "a.xml": True, "a.torchscript": False, "a.safetensors": False}


@pytest.mark.parametrize("name", ["torchscript", "onnx", "openvino", "checkpoint"])
def test_every_runtime_may_be_called_by_several_threads(name, exports):
    path = exports.weights if name == "checkpoint" else exports.path(name)
    backend = open_file(path, device="cpu", threads=2, lanes=2).backend
    random = np.random.default_rng(1)
    frames = [random.integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8) for _ in range(6)]
    with ThreadPoolExecutor(2) as pool:
        kept = list(pool.map(backend.run, frames))
    for outputs, frame in zip(kept, frames, strict=True):
        # Pixels; torch may sum up in another order in another thread, and the weights amplify sums.
        np.testing.assert_allclose(outputs.decoded(), backend.run(frame).decoded(), atol=0.1, rtol=5e-3)
