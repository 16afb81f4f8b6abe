import numpy as np
import pytest
import torch

from tests.model.lively import lively_detector
from vedette.core.picture_format import PictureFormat
from vedette.errors import ModelError, UsageError
from vedette.infer.backends.pytorch import TorchBackend, images_of
from vedette.model.detector import build_detector

# Sums of another order: fused convolutions, other memory layouts.
TOLERANCE = {"atol": 2e-3, "rtol": 1e-4}


@pytest.fixture(scope="module")
def detector():
    return build_detector("tiny", classes=3, seed=1)


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


def plain(detector, frames):
    """The detector as it is: not fused, standard layout."""
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous().float() / 255
    training = detector.training
    detector.eval()
    with torch.no_grad():
        predictions = detector.head.decode(detector(images))
    detector.train(training)
    return predictions


@pytest.mark.parametrize("channels_last", [True, False])
def test_equals_the_plain_detector(detector, frames, channels_last):
    backend = TorchBackend(detector, "cpu", "float32", channels_last=channels_last)
    predictions = backend.infer(frames)
    assert predictions.dtype == torch.float32
    torch.testing.assert_close(predictions, plain(detector, frames), **TOLERANCE)


def test_bf16_is_near_and_its_output_float32(detector, frames):
    backend = TorchBackend(detector, "cpu", "bf16")
    assert backend.precision == "bf16"
    predictions = backend.infer(frames)
    assert predictions.dtype == torch.float32
    # bfloat16 has 8 significant bits; centres move by under a pixel, scores by under 0.02.
    expected = plain(detector, frames)
    assert (predictions[..., :2] - expected[..., :2]).abs().max() < 1.0
    assert (predictions[..., 4:] - expected[..., 4:]).abs().max() < 0.02


def test_detector_is_copied_not_changed(detector, frames):
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    training = detector.training
    TorchBackend(detector, "cpu", "bf16").infer(frames)
    assert detector.training == training
    assert all(parameter.requires_grad for parameter in detector.parameters())
    assert detector.state_dict().keys() == before.keys()
    for name, tensor in detector.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype


def test_what_it_tells_of_itself(detector):
    backend = TorchBackend(detector)
    assert backend.strides == tuple(detector.strides)
    assert backend.classes == 3
    assert backend.device == torch.device("cpu")
    assert backend.precision == "float32"
    backend.warm_up((64, 64), 2)


def test_tensors_and_read_only_arrays_are_frames_too(detector, frames):
    backend = TorchBackend(detector)
    expected = backend.infer(frames)
    frozen = frames.copy()
    frozen.flags.writeable = False
    assert torch.equal(backend.infer(torch.from_numpy(frames)), expected)
    assert torch.equal(backend.infer(frozen), expected)
    assert torch.equal(backend.infer(frames[::-1])[0], backend.infer(frames[::-1].copy())[0])


def test_input_is_not_written_to(detector, frames):
    before = frames.copy()
    TorchBackend(detector).infer(frames)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2, 3, 64, 64), np.uint8),
        ((64, 64, 3), np.uint8),
        ((1, 64, 64, 3), np.float32),
        ((1, 60, 64, 3), np.uint8),
        ((1, 0, 64, 3), np.uint8),
    ],
)
def test_other_shapes_and_types_are_refused(detector, shape, dtype):
    with pytest.raises(ModelError, match="frames are"):
        TorchBackend(detector).infer(np.zeros(shape, dtype=dtype))


def test_precision_that_the_device_has_not(detector):
    with pytest.raises(UsageError, match="fp16"):
        TorchBackend(detector, "cpu", "fp16")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_gpu_is_near_the_cpu(detector, frames, precision):
    backend = TorchBackend(detector, "cuda:0", precision)
    predictions = backend.infer(frames).cpu()
    expected = plain(detector, frames)
    assert (predictions[..., :2] - expected[..., :2]).abs().max() < 1.0
    assert (predictions[..., 4:] - expected[..., 4:]).abs().max() < 0.02


def test_inspection_shows_what_the_predictions_come_from(detector, frames):
    backend = TorchBackend(detector)
    seen = backend.inspect(frames, ["neck.p3", 6])
    outputs = backend.run(frames)
    for level, expected in zip(seen.outputs.levels, outputs.levels, strict=True):
        np.testing.assert_array_equal(level, expected.permute(0, 1, 4, 2, 3).numpy())
    alone = backend.features(frames, ["neck.p3", 6])
    assert list(seen.maps) == list(alone) == ["neck.p3", 6]
    for layer, found in alone.items():
        assert found.dtype == np.float32
        np.testing.assert_array_equal(seen.maps[layer], found)
    assert backend.level_inputs == (17, 20, 23)
    assert backend.shown_layers == tuple(range(24))
    assert seen.outputs.head.anchors_px.shape == (3, 3, 2)


@pytest.mark.parametrize(
    "picture_format",
    [
        PictureFormat(1, 16),
        PictureFormat(4, 16, (100, 5000)),
        PictureFormat(2),
        PictureFormat(3, 8, (16, 235)),
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_frames_of_other_pictures(picture_format, precision):
    """Scaled in float32, whatever the network computes in, and then rounded once."""
    low, high = picture_format.value_range
    shape = (2, 32, 64, picture_format.channels)
    frames = np.random.default_rng(0).integers(0, picture_format.largest, shape).astype(picture_format.dtype)
    dtype = torch.float32 if precision == "float32" else torch.bfloat16
    images = images_of(frames, 32, torch.device("cpu"), dtype, torch.channels_last, picture_format)
    exact = np.clip((frames.astype(np.float64) - low) / (high - low), 0, 1)
    expected = torch.from_numpy(exact).float().permute(0, 3, 1, 2).to(dtype)
    torch.testing.assert_close(images, expected, rtol=1e-6 if precision == "float32" else 8e-3, atol=1e-7)
    detector = build_detector("tiny", classes=3, channels=picture_format.channels)
    backend = TorchBackend(detector, "cpu", precision, picture_format=picture_format)
    assert backend.infer(frames).isfinite().all()
    backend.warm_up((32, 64), 2)
    with pytest.raises(ModelError, match="expected torch"):
        backend.run(np.zeros((1, 32, 32, 3), np.uint8 if picture_format.bits == 16 else np.uint16))


RELEASES = (
    "yolov5s@v1.0",
    "yolov5s@v3.1",
    "yolov5n@v4.0",
    "yolov5s6@v5.0",
    "yolov5n@v6.0",
    "yolov5n6@v6.0",
    "yolov5n@v7.0",
    "yolov5n6@v7.0",
)


def calm_detector(name):
    """Its answer depends on the picture, but a rounding does not grow from layer to layer as in a lively one."""
    detector = lively_detector(name)
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.mul_(0.7)
    return detector


@pytest.mark.parametrize("name", RELEASES)
def test_rewritten_equals_plain(name):
    """Boxes to 1e-5 of their size; roundings alone come to 2e-6, another picture to 1e-3 and more."""
    detector = calm_detector(name)
    backend = TorchBackend(detector)
    frames = np.random.default_rng(0).integers(0, 256, (1, 128, 192, 3), dtype=np.uint8)
    expected = plain(detector, frames)
    near = {"rtol": 1e-5, "atol": 0}
    torch.testing.assert_close(backend.infer(frames), expected, **near)
    other = plain(detector, frames[:, ::-1].copy())
    assert float(((other - expected) / expected).abs().mean()) > 1e-4
    viewed = backend.run_views(frames, lambda predict, images: predict(images.flip(3))).predictions
    torch.testing.assert_close(viewed, plain(detector, frames[:, :, ::-1].copy()), **near)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    layers = [*range(len(detector.model) - 1), *detector.feature_names]
    with torch.no_grad():
        maps = detector.features(images, layers)
    for layer, found in backend.features(frames, layers).items():
        wanted = maps[layer].numpy()
        np.testing.assert_allclose(
            found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(), err_msg=str(layer)
        )
