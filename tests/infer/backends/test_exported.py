import threading

import numpy as np
import pytest

from tests.checkpoint.contracts import small_contract
from vedette.checkpoint.contract import InputFormat
from vedette.checkpoint.feature_maps import FeatureMap, FeatureMaps
from vedette.core.nms import NmsSettings
from vedette.errors import ModelError
from vedette.infer.backends.exported import ExportedBackend, check_frames, network_input, outputs_of
from vedette.infer.outputs import DecodedOutputs, FinalOutputs, LevelOutputs

FRAMES = np.random.default_rng(0).integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)


def backend(contract, arrays=()):
    return ExportedBackend(contract, lambda values: arrays, "cpu", "float32")


def levels(batch=1):
    """Raw values [B, A, 5+C, h, w] of both strides."""
    random = np.random.default_rng(1)
    return [
        random.standard_normal((batch, 2, 7, 64 // stride, 96 // stride), np.float32) for stride in (8, 16)
    ]


def test_all_kinds_of_output_mean_the_same():
    raw = levels()
    planes = [level.reshape(1, 14, *level.shape[3:]) for level in raw]
    cells = [plane.transpose(0, 2, 3, 1) for plane in planes]
    expected = LevelOutputs(raw, backend(small_contract())._head).decoded()
    for kind, arrays in (("planes", planes), ("cells", cells), ("predictions", [expected])):
        outputs = backend(small_contract(output=kind), arrays).run(FRAMES)
        np.testing.assert_array_equal(outputs.decoded(), expected)
    assert isinstance(outputs, DecodedOutputs)


def test_detections_know_what_is_built_in():
    nms = NmsSettings(conf_threshold=0.3)
    rows = np.array([[[1, 2, 3, 4, 0.9, 1], [0, 0, 0, 0, 0, 0]]], np.float32)
    outputs = backend(small_contract(output="detections", nms=nms), [rows]).run(FRAMES)
    assert isinstance(outputs, FinalOutputs)
    assert len(outputs.suppress(nms)[0].detections) == 1
    with pytest.raises(ModelError, match=r"conf_threshold must be at least 0\.3"):
        outputs.suppress(NmsSettings())


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (InputFormat(), FRAMES),
        (InputFormat(colour_order="bgr"), FRAMES[..., ::-1]),
        (InputFormat(layout="nchw"), FRAMES.transpose(0, 3, 1, 2)),
        (InputFormat(dtype="float32", scale=1 / 255), FRAMES / np.float32(255)),
        (
            InputFormat("nchw", "float16", "bgr", 1.0),
            FRAMES[..., ::-1].transpose(0, 3, 1, 2).astype(np.float16),
        ),
    ],
)
def test_frames_become_what_the_network_takes(form, expected):
    values = network_input(FRAMES, small_contract(input=form))
    assert values.dtype == form.dtype
    assert values.flags.c_contiguous
    np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        (FRAMES.astype(np.float32), "expected uint8"),
        (FRAMES[0], "expected uint8"),
        (FRAMES[..., :1], "expected uint8"),
        (FRAMES[:, :32], "takes 64x96 only"),
        (np.repeat(FRAMES, 2, axis=0), "2 frames, the file takes 1"),
        (FRAMES[:0], "0 frames"),
    ],
)
def test_other_frames_are_refused(frames, text):
    with pytest.raises(ModelError, match=text):
        backend(small_contract()).run(frames)


def test_open_sizes_are_multiples_of_the_stride():
    contract = small_contract(frame_hw=None, batch_size=None)
    assert check_frames(np.zeros((3, 32, 48, 3), np.uint8), contract).shape == (3, 32, 48, 3)
    with pytest.raises(ModelError, match="multiples of 16"):
        check_frames(np.zeros((1, 32, 40, 3), np.uint8), contract)
    with pytest.raises(ModelError, match="multiples of 16"):
        check_frames(np.zeros((1, 0, 48, 3), np.uint8), contract)


@pytest.mark.parametrize("kind", ["planes", "cells", "predictions"])
def test_arrays_of_another_shape_are_refused(kind):
    contract = small_contract(output=kind)
    for arrays in ([], [np.zeros((1, 3), np.float32)], [np.zeros((1, 4, 4, 13), np.float32)] * 2):
        with pytest.raises(ModelError, match=f"they are no {kind} of 2 classes"):
            outputs_of(arrays, contract, backend(contract)._head)


SHOWN = FeatureMaps((17, 20), (FeatureMap(4, ("backbone.p3",), 6, 8), FeatureMap(20, ("neck.p4",), 5, 16)))


def test_maps_follow_the_raw_outputs():
    planes = [level.reshape(1, 14, *level.shape[3:]) for level in levels()]
    maps = [np.full((1, 6, 8, 12), 2, np.float16), np.full((1, 5, 4, 6), 3, np.float16)]
    made = backend(small_contract(output="planes", features=SHOWN, golden=None), [*planes, *maps])
    plain = backend(small_contract(output="planes"), planes)
    np.testing.assert_array_equal(made.run(FRAMES).decoded(), plain.run(FRAMES).decoded())
    assert (made.level_inputs, made.shown_layers) == ((17, 20), (4, 20))
    assert (plain.level_inputs, plain.shown_layers) == ((), ())
    found = made.features(FRAMES, ["neck.p4", 4])
    assert list(found) == ["neck.p4", 4]
    assert {layer: (value.dtype.name, value.mean()) for layer, value in found.items()} == {
        "neck.p4": ("float32", 3.0),
        4: ("float32", 2.0),
    }
    maps[0][:] = 9  # a runtime uses its memory again
    assert found[4].mean() == 2.0
    seen = made.inspect(FRAMES, [4])
    np.testing.assert_array_equal(seen.outputs.decoded(), plain.run(FRAMES).decoded())
    with pytest.raises(ModelError, match="no map of that layer"):
        made.features(FRAMES, [17])
    with pytest.raises(ModelError, match="shows no maps of layers"):
        plain.features(FRAMES, [4])


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_maps_that_are_not_there_are_missed(kept):
    planes = [level.reshape(1, 14, *level.shape[3:]) for level in levels()]
    arrays = [*planes, np.zeros((1, 6, 8, 12), np.float32)][:kept]
    made = backend(small_contract(output="planes", features=SHOWN, golden=None), arrays)
    for call in (
        lambda: made.run(FRAMES),
        lambda: made.features(FRAMES, [4]),
        lambda: made.inspect(FRAMES, [4]),
    ):
        with pytest.raises(ModelError, match="export the checkpoint again"):
            call()


def test_facts_come_from_the_contract():
    made = backend(small_contract())
    assert (made.strides, made.classes, made.frame_hw, made.batch_size) == ((8, 16), 2, (64, 96), 1)


def test_warm_up_takes_the_size_of_the_file():
    seen = []
    contract = small_contract(batch_size=2, output="predictions")
    made = ExportedBackend(
        contract,
        lambda values: seen.append(values.shape) or [np.zeros((2, 1, 7), np.float32)],
        "cpu",
        "float32",
    )
    made.warm_up((640, 640))
    assert seen == [(2, 64, 96, 3)]


@pytest.mark.parametrize("name", ["torchscript", "onnx", "openvino"])
def test_threads_may_share_a_backend(name, exports):
    from vedette.infer.backends.files import open_file

    shared = open_file(exports.path(name), device="cpu").backend
    random = np.random.default_rng(3)
    frames = [random.integers(0, 256, (1, 96, 128, 3), dtype=np.uint8) for _ in range(4)]
    alone = [shared.run(frame).decoded() for frame in frames]
    together = [None] * len(frames)

    def work(number):
        for _ in range(3):
            together[number] = shared.run(frames[number]).decoded()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first, second)
