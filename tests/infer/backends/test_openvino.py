from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.infer.backends import openvino as openvino_module
from vedette.infer.backends.openvino import KEPT_SHAPES, WORTH_COMPILING, CompiledShapes, open_openvino


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


FRAME_HW = (96, 128)


def clouds(batch, size_hw, seed=0):
    """Coloured clouds, uint8 [B, H, W, 3]."""
    random = np.random.default_rng(seed)
    return np.stack(
        [cv2.resize(random.integers(0, 256, (6, 8, 3), dtype=np.uint8), size_hw[::-1]) for _ in range(batch)]
    )


def memory_of(outputs):
    return outputs.levels[0].__array_interface__["data"][0]


def test_lanes_find_what_one_finds(exports):
    path = exports.path("openvino")
    frames = [clouds(1, FRAME_HW, seed) for seed in range(12)]
    expected = [open_openvino(path, threads=1).run(one).decoded() for one in frames[:3]]
    backend = open_openvino(path, threads=3, lanes=3)
    with ThreadPoolExecutor(3) as pool:
        # All outputs are kept before the first is read: no request may have been used twice.
        kept = list(pool.map(backend.run, frames))
    for found, wanted in zip(kept, expected, strict=False):
        np.testing.assert_allclose(found.decoded(), wanted, atol=0.1, rtol=5e-3)  # the weights amplify sums
    alone = [backend.run(one).decoded() for one in frames]
    for found, wanted in zip(kept, alone, strict=True):
        np.testing.assert_array_equal(found.decoded(), wanted)


def test_outputs_are_lent_until_the_last_view_of_them_is_gone(exports):
    backend = open_openvino(exports.path("openvino"), threads=1)
    outputs = backend.run(clouds(1, FRAME_HW))
    view, copy = outputs.levels[0][..., :2], outputs.levels[0][..., :2].copy()
    memory = memory_of(outputs)
    del outputs
    other = backend.run(clouds(1, FRAME_HW, seed=1))
    assert memory_of(other) != memory
    np.testing.assert_array_equal(view, copy)
    assert not np.array_equal(other.levels[0][..., :2], copy), (
        "the negative control: it could have been overwritten"
    )
    del view
    assert memory_of(backend.run(clouds(1, FRAME_HW))) == memory, "then its memory is used again"


@pytest.mark.parametrize("size_hw", [FRAME_HW, (64, 160)])
def test_a_shape_of_its_own_changes_nothing(exports, monkeypatch, size_hw):
    monkeypatch.setattr(openvino_module, "WORTH_COMPILING", 3)
    backend = open_openvino(exports.path("openvino", dynamic="all"), threads=1)
    frames = clouds(2, size_hw)
    found = [backend.run(frames).decoded() for _ in range(5)]
    assert found[0].shape[0] == 2
    for later in found[1:]:
        np.testing.assert_allclose(later, found[0], atol=0.1, rtol=5e-3)  # the weights amplify sums


class FakeModel:
    """Has no layers; may refuse shapes."""

    def __init__(self, shape=None, dynamic=True, refuses=()):
        self.shape, self.dynamic, self.refuses = shape, dynamic, refuses

    def clone(self):
        return FakeModel(self.shape, self.dynamic, self.refuses)

    def is_dynamic(self):
        return self.dynamic

    def reshape(self, shape):
        if tuple(shape) in self.refuses:
            raise RuntimeError("cannot be reshaped")
        self.shape = tuple(shape)


class FakeCompiled:
    """Its output: the number of its calls, and whether it is of one shape."""

    def __init__(self, model):
        self.shape, self.calls = model.shape, 0

    def create_infer_request(self):
        return self

    def infer(self, inputs, **_):
        assert self.shape in (None, inputs[0].shape)
        self.calls += 1
        return {0: np.array([self.calls, self.shape is not None])}


def fake_shapes(model=None, usual=(1, 64, 64, 3)):
    compiled = []

    def compile_model(model):
        compiled.append(model.shape)
        return FakeCompiled(model)

    return CompiledShapes(model or FakeModel(), compile_model, usual), compiled


def frame(height, batch=1):
    return np.zeros((batch, height, 64, 3), np.uint8)


def test_the_usual_shape_is_compiled_first_and_others_when_they_have_come_often():
    shapes, compiled = fake_shapes()
    assert compiled == [(1, 64, 64, 3)]
    assert shapes.call(frame(64))[0].tolist() == [1, 1]
    assert compiled == [(1, 64, 64, 3)]
    known = [bool(shapes.call(frame(32))[0][1]) for _ in range(WORTH_COMPILING + 3)]
    assert known == [False] * (WORTH_COMPILING - 1) + [True] * 4
    assert compiled == [(1, 64, 64, 3), None, (1, 32, 64, 3)]


def test_many_shapes_that_come_seldom_compile_nothing_more():
    shapes, compiled = fake_shapes()
    for number in range(20 * (WORTH_COMPILING - 1)):
        shapes.call(frame(96 + 32 * (number % 20)))
    assert compiled == [(1, 64, 64, 3), None]


def test_few_shapes_are_kept():
    shapes, compiled = fake_shapes()
    for batch in range(2, KEPT_SHAPES + 2):
        for _ in range(WORTH_COMPILING):
            shapes.call(frame(64, batch))
    assert len(compiled) == 2 + KEPT_SHAPES
    assert bool(shapes.call(frame(64, KEPT_SHAPES + 1))[0][1])
    known = [bool(shapes.call(frame(64))[0][1]) for _ in range(WORTH_COMPILING)]
    assert known == [False] * (WORTH_COMPILING - 1) + [True], "the shape used longest ago was forgotten"


def test_a_model_that_cannot_have_a_shape_stays_open():
    shapes, compiled = fake_shapes(FakeModel(refuses=[(1, 64, 64, 3)]))
    assert compiled == [None]
    assert [bool(shapes.call(frame(64))[0][1]) for _ in range(2 * WORTH_COMPILING)] == [
        False
    ] * 2 * WORTH_COMPILING
    assert compiled == [None]


def test_a_model_of_one_shape_is_compiled_once():
    shapes, compiled = fake_shapes(FakeModel(dynamic=False))
    for _ in range(2 * WORTH_COMPILING):
        shapes.call(frame(64))
    assert compiled == [None]


def test_several_threads_compile_a_shape_once():
    shapes, compiled = fake_shapes()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: shapes.call(frame(32)), range(4 * WORTH_COMPILING)))
    assert compiled == [(1, 64, 64, 3), None, (1, 32, 64, 3)]


def test_what_openvino_cannot_run_is_an_error_of_ours():
    class Failing(FakeCompiled):
        def infer(self, inputs, **_):
            raise RuntimeError("Exception from src/inference:\n  no memory")

    shapes = CompiledShapes(FakeModel(), Failing, (1, 64, 64, 3))
    with pytest.raises(
        ModelError, match=r"OpenVINO could not run it \(Exception from src/inference: no memory\)"
    ):
        shapes.call(frame(64))
