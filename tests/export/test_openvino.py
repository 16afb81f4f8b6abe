from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.model.small_table import small_detector
from vedette.errors import MissingExtraError
from vedette.export.openvino import convert_openvino, quantize_openvino
from vedette.model.detector import Detector
from vedette.model.frame_detector import FrameDetector, Output

openvino = pytest.importorskip("openvino")  # told or not: tests reach no network


@pytest.fixture(scope="module")
def detector() -> Detector:
    return small_detector()


def some_frames(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)


def run_openvino(model: object, frames: np.ndarray) -> list[np.ndarray]:
    compiled = openvino.Core().compile_model(
        model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    )
    return [np.array(values) for values in compiled([frames]).values()]


@torch.no_grad()
def run_torch(network: FrameDetector, frames: np.ndarray) -> list[np.ndarray]:
    outputs = network(torch.from_numpy(frames))
    return [output.numpy() for output in ((outputs,) if isinstance(outputs, torch.Tensor) else outputs)]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Float32 sums in another order, over some ten layers."""
    for actual, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("output", ["planes", "cells", "predictions"])
def test_a_model_of_any_shape(detector: Detector, output: Output) -> None:
    network = FrameDetector(detector, output)
    model = convert_openvino(network)
    assert model.input(0).get_any_name() == "frames"
    assert model.input(0).get_element_type() == openvino.Type.u8
    assert tuple(port.get_any_name() for port in model.outputs) == network.output_names
    for shape in ((1, 64, 96), (3, 96, 64)):
        frames = some_frames(*shape)
        assert_close(run_openvino(model, frames), run_torch(network, frames))


def test_a_model_of_one_shape_and_one_reshaped_to_it_are_the_same(detector: Detector) -> None:
    network = FrameDetector(detector)
    fixed = convert_openvino(network, 2, (64, 96))
    reshaped = convert_openvino(network)
    reshaped.reshape(openvino.PartialShape([2, 64, 96, 3]))
    assert [list(port.shape) for port in fixed.outputs] == [list(port.shape) for port in reshaped.outputs]
    frames = some_frames(2, 64, 96)
    for actual, wanted in zip(run_openvino(reshaped, frames), run_openvino(fixed, frames), strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_the_model_outlives_the_network(detector: Detector) -> None:
    network = FrameDetector(detector)
    model = convert_openvino(network, 1, (64, 64))
    frames = some_frames(1, 64, 64)
    expected = run_torch(network, frames)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert_close(run_openvino(model, frames), expected)


def test_int8_with_and_without_outputs_in_float(detector: Detector) -> None:
    pytest.importorskip("nncf")
    network = FrameDetector(detector, "planes")
    model = convert_openvino(network, 1, (64, 96))
    frames = [some_frames(1, 64, 96) for _ in range(2)]
    expected = run_torch(network, frames[0])
    count = {}
    for float_outputs in (True, False):
        quantized = quantize_openvino(model, frames, float_outputs=float_outputs)
        kinds = [node.get_type_name() for node in quantized.get_ops()]
        count[float_outputs] = kinds.count("FakeQuantize")
        for actual, wanted in zip(run_openvino(quantized, frames[0]), expected, strict=True):
            assert np.corrcoef(actual.ravel(), wanted.ravel())[0, 1] > 0.98
            assert np.abs(actual - wanted).max() > 1e-3, "nothing was rounded"
    assert count[False] > count[True] > 5
    assert "FakeQuantize" not in [node.get_type_name() for node in model.get_ops()]


def test_maps_of_layers_do_not_keep_their_convolutions_in_float(detector: Detector) -> None:
    pytest.importorskip("nncf")
    network = FrameDetector(detector, "planes")
    network.layers = (4,)
    model = convert_openvino(network, 1, (64, 96))
    assert [output.get_any_name() for output in model.outputs] == list(network.output_names)
    frames = [some_frames(1, 64, 96) for _ in range(2)]
    count = {}
    for raw_outputs in (len(model.outputs), len(model.outputs) - 1):
        quantized = quantize_openvino(model, frames, raw_outputs=raw_outputs)
        count[raw_outputs] = [node.get_type_name() for node in quantized.get_ops()].count("FakeQuantize")
    assert count[len(model.outputs) - 1] > count[len(model.outputs)]


PROGRAMS = {
    "ours": """
import numpy as np
from vedette.export.openvino import convert_openvino, quantize_openvino
from vedette.model.detector import build_detector
from vedette.model.frame_detector import FrameDetector
model = convert_openvino(FrameDetector(build_detector("tiny", classes=1)), 1, (64, 64))
quantize_openvino(model, [np.zeros((1, 64, 64, 3), np.uint8)])
""",
    "theirs": "import openvino",
}
LISTING = """
from pathlib import Path
print(sorted(path.name for path in Path.home().rglob("*") if path.is_file()))
"""


@pytest.mark.parametrize(("caller", "is_told"), [("ours", False), ("theirs", True)])
def test_nobody_is_told_of_conversions(caller: str, is_told: bool, tmp_path: Path) -> None:
    """The packages keep an identity of the user in the home folder and report under it; theirs is the control."""
    pytest.importorskip("nncf")
    pytest.importorskip("openvino_telemetry")
    environment = {key: value for key, value in os.environ.items() if key not in ("CI", "NNCF_CI")}
    environment |= {"HOME": str(tmp_path), "LOCALAPPDATA": str(tmp_path), "USERPROFILE": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAMS[caller] + LISTING],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert ("openvino_ga_cid" in result.stdout) == is_told
    if not is_told:
        assert result.stdout == "[]\n", "nothing is printed, and nothing is left in the home folder"


def test_missing_packages_are_named(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    network = FrameDetector(detector)
    model = convert_openvino(network, 1, (64, 64))
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match="nncf"):
        quantize_openvino(model, [])
    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="openvino"):
        convert_openvino(network)
