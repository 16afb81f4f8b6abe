from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.infer.colour_backend import NAMES, ColourBackend, colour_predictor, picture
from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.core.picture_format import PictureFormat
from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.outputs import DecodedOutputs
from vedette.infer.predictor import Predictor
from vedette.model.detector import build_detector

# Batched and single runs may take different convolution kernels, which sum in another order.
BATCH_TOLERANCE_PX = 1e-3
BATCH_TOLERANCE_SCORE = 1e-5


@pytest.fixture(scope="module")
def detector():
    return build_detector("tiny", classes=3, seed=3)


@pytest.fixture(scope="module")
def tiny(detector):
    """An untrained detector; its low threshold makes it answer with many boxes."""
    nms = NmsSettings(conf_threshold=1e-4, max_detections=50)
    return Predictor(TorchBackend(detector), LetterboxPolicy(size_hw=(96, 128)), ("a", "b", "c"), nms)


def noise(*sizes_hw):
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (*size_hw, 3), dtype=np.uint8) for size_hw in sizes_hw]


@pytest.mark.parametrize("shape", ["square", "minimal", "stretch"])
@pytest.mark.parametrize("size_hw", [(160, 160), (120, 200), (211, 97), (40, 61), (480, 640)])
def test_boxes_come_back_in_picture_pixels(shape, size_hw):
    height, width = size_hw
    box = (width // 5, height // 4, width // 2, height * 3 // 4)
    (found,) = colour_predictor(shape=shape).predict([picture(size_hw, red=box)])
    assert found.class_ids.tolist() == [0]
    # One frame pixel of bilinear edge on each side, in picture pixels.
    tolerance = 1.5 * max(height / 160, width / 160, 1)
    np.testing.assert_allclose(found.boxes_xyxy_px[0], box, atol=tolerance)
    assert found.boxes_xyxy_px.dtype == np.float32
    assert found.size_hw == size_hw


def test_boxes_are_not_rounded():
    (found,) = colour_predictor().predict([picture((333, 500), red=(101, 57, 303, 211))])
    assert (found.boxes_xyxy_px != found.boxes_xyxy_px.round()).any()


def test_boxes_are_clipped_to_the_picture():
    (found,) = colour_predictor().predict([picture((100, 200), red=(0, 0, 200, 100))])
    np.testing.assert_allclose(found.boxes_xyxy_px[0], (0, 0, 200, 100), atol=1.5)
    assert (found.boxes_xyxy_px[0] >= 0).all()
    assert (found.boxes_xyxy_px[0] <= (200, 100, 200, 100)).all()


def test_box_in_the_padding_is_none():
    class Padding(ColourBackend):
        def run(self, frames):
            row = [80.0, 5.0, 20.0, 8.0, 0.9, 1.0, 0.0]  # the picture starts at row 40
            return DecodedOutputs(np.array([[row]] * len(frames), dtype=np.float32))

    predictor = Predictor(Padding(), LetterboxPolicy(size_hw=(160, 160)), NAMES)
    (found,) = predictor.predict([picture((100, 200))])
    assert len(found) == 0


def test_results_keep_order_names_and_paths_across_frame_shapes():
    predictor = colour_predictor(shape="minimal")
    images = [
        picture((100, 200), red=(10, 10, 60, 60)),
        picture((200, 100), blue=(10, 10, 60, 60)),
        picture((100, 200)),
        picture((200, 100), red=(20, 30, 90, 160), blue=(1, 2, 15, 20)),
    ]
    found = predictor.predict(images, paths=["a", "b", "c", "d"])
    assert [result.path for result in found] == ["a", "b", "c", "d"]
    assert [result.class_ids.tolist() for result in found] == [[0], [1], [], [0, 1]]
    assert [result.class_names for result in found] == [NAMES] * 4
    # Two shapes, one pass each.
    assert sorted(predictor.backend.shapes) == [(2, 96, 160, 3), (2, 160, 96, 3)]


def test_times_of_each_stage_are_given():
    (found,) = colour_predictor().predict([picture((50, 50))])
    assert set(found.milliseconds) == {"decode", "preprocess", "inference", "postprocess"}
    assert all(value >= 0 for value in found.milliseconds.values())


def test_nothing_to_do():
    assert colour_predictor().predict([]) == []


@pytest.mark.parametrize("shape", ["square", "minimal", "stretch"])
def test_batch_equals_single(tiny, shape):
    predictor = tiny.with_settings(letterbox=LetterboxPolicy(size_hw=(96, 128), shape=shape))
    images = noise((96, 128), (60, 128), (128, 60), (200, 300), (60, 128), (33, 41), (96, 128))
    together = predictor.predict(images)
    for image, batched in zip(images, together, strict=True):
        (single,) = predictor.predict([image])
        assert len(single) == len(batched) > 0
        np.testing.assert_array_equal(batched.class_ids, single.class_ids)
        np.testing.assert_allclose(batched.boxes_xyxy_px, single.boxes_xyxy_px, atol=BATCH_TOLERANCE_PX)
        np.testing.assert_allclose(batched.scores, single.scores, atol=BATCH_TOLERANCE_SCORE)


def test_threads_may_share_a_predictor(tiny):
    images = noise(*[(60 + 3 * number, 128) for number in range(12)])
    expected = [tiny.predict([image])[0] for image in images]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda image: tiny.predict([image])[0], images))
    for got, want in zip(results, expected, strict=True):
        np.testing.assert_array_equal(got.class_ids, want.class_ids)
        np.testing.assert_allclose(got.boxes_xyxy_px, want.boxes_xyxy_px, atol=BATCH_TOLERANCE_PX)


def test_frames_and_pictures_give_the_same_boxes(tiny):
    (image,) = noise((96, 128))
    (rows,) = tiny.infer_frames(image[None])
    (found,) = tiny.predict([image])
    inside = rows[:, :4].copy()
    inside[:, 0::2] = inside[:, 0::2].clip(0, 128)
    inside[:, 1::2] = inside[:, 1::2].clip(0, 96)
    assert rows.shape[1] == 6
    np.testing.assert_allclose(found.boxes_xyxy_px, inside, atol=1e-4)
    np.testing.assert_array_equal(found.scores, rows[:, 4])


def test_settings_change_a_copy_that_shares_the_network(tiny):
    strict = tiny.with_settings(nms=NmsSettings(conf_threshold=1.0))
    assert strict.backend is tiny.backend
    assert strict.letterbox == tiny.letterbox
    (image,) = noise((96, 128))
    assert len(strict.predict([image])[0]) == 0
    assert len(tiny.predict([image])[0]) > 0


def test_features_are_those_of_the_detector_for_frames_of_any_size(tiny, detector):
    policy = LetterboxPolicy(size_hw=(96, 128), shape="minimal")
    predictor = tiny.with_settings(letterbox=policy)
    images = noise((96, 128), (60, 128), (96, 128))
    maps = predictor.features(images, ["backbone.p3", 17])
    assert list(maps) == ["backbone.p3", 17]
    assert [found.shape[1:] for found in maps["backbone.p3"]] == [(12, 16), (8, 16), (12, 16)]
    for number, image in enumerate(images):
        frame = torch.from_numpy(policy.place(image.shape[:2]).apply(image))
        with torch.no_grad():
            expected = detector.eval().features(
                frame.permute(2, 0, 1)[None].float() / 255, ["backbone.p3", 17]
            )
        for layer, found in maps.items():
            assert found[number].dtype == np.float32
            np.testing.assert_allclose(found[number], expected[layer][0], atol=1e-3, rtol=1e-3)
    assert predictor.features([], [17]) == {17: []}


def test_features_need_a_layer_and_a_network_that_shows_itself(tiny):
    with pytest.raises(ModelError, match=r"did you mean 'backbone\.p3'"):
        tiny.features(noise((96, 128)), ["backbon.p3"])
    with pytest.raises(ModelError, match="load the checkpoint itself"):
        colour_predictor().features(noise((96, 128)), [3])


def test_number_of_names_must_fit():
    with pytest.raises(ModelError, match="3 class names for a detector of 2 classes"):
        Predictor(ColourBackend(), LetterboxPolicy(), ("a", "b", "c"))


def test_class_that_does_not_exist_is_refused():
    with pytest.raises(UsageError, match=r"no class 2; the detector has classes 0 to 1"):
        colour_predictor(class_ids=(0, 2))


@pytest.mark.parametrize("shape", [(5, 5), (5, 5, 4), (0, 5, 3)])
def test_arrays_that_are_no_picture_are_refused(shape):
    with pytest.raises(ModelError):
        colour_predictor().predict([np.zeros(shape, dtype=np.uint8)])


def test_a_network_that_answers_nan_is_an_error_not_an_empty_picture():
    class Broken(ColourBackend):
        def run(self, frames):
            return DecodedOutputs(np.full((len(frames), 4, 7), np.nan, dtype=np.float32))

    with pytest.raises(ModelError, match="not a number"):
        Predictor(Broken(), LetterboxPolicy(size_hw=(64, 64)), NAMES).predict([picture((50, 50))])


def test_from_file_carries_names_and_letterbox(tmp_path, detector):
    path = tmp_path / "best.safetensors"
    letterbox = LetterboxPolicy(size_hw=(96, 128), shape="minimal", pad_value=7)
    save_detector(path, detector, class_names=("x", "y", "z"), letterbox=letterbox, metadata={})
    nms = NmsSettings(conf_threshold=1e-4, max_detections=50)
    loaded = Predictor.from_file(path, device="cpu", nms=nms)
    assert loaded.class_names == ("x", "y", "z")
    assert loaded.letterbox == letterbox
    images = noise((96, 128), (77, 200))
    direct = Predictor(TorchBackend(detector), letterbox, ("x", "y", "z"), nms)
    for got, want in zip(loaded.predict(images), direct.predict(images), strict=True):
        np.testing.assert_array_equal(got.boxes_xyxy_px, want.boxes_xyxy_px)
        np.testing.assert_array_equal(got.scores, want.scores)


def test_from_file_names_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        Predictor.from_file(tmp_path / "nowhere.safetensors", device="cpu")


DEEP = PictureFormat(1, 16, (0, 4095))


@pytest.fixture(scope="module")
def deep():
    """An untrained detector for 12-bit grey."""
    network = build_detector("tiny", classes=3, channels=1, seed=3)
    policy = LetterboxPolicy(size_hw=(96, 128), picture_format=DEEP)
    nms = NmsSettings(conf_threshold=1e-4, max_detections=50)
    return Predictor(TorchBackend(network, picture_format=DEEP), policy, ("a", "b", "c"), nms)


def test_pictures_of_another_format(deep):
    assert deep.picture_format == DEEP
    image = np.random.default_rng(0).integers(0, 4096, (60, 90, 1)).astype(np.uint16)
    (found,) = deep.predict([image])
    assert len(found)
    seen, without_low_bits = deep.features([image, image // 16 * 16], [0])[0]
    assert np.abs(seen - without_low_bits).max() > 1e-4


def test_8_bit_rgb_as_cameras_give_it_is_converted(deep):
    (rgb,) = noise((60, 90))
    (found,), (expected,) = deep.predict([rgb]), deep.predict([DEEP.fitted(rgb)])
    np.testing.assert_array_equal(found.scores, expected.scores)


@pytest.mark.parametrize(
    "shape_and_type", [((9, 9, 3), np.uint16), ((9, 9, 2), np.uint16), ((9, 9, 1), np.uint8)]
)
def test_arrays_of_another_format_are_refused(deep, tiny, shape_and_type):
    """Of an array nobody knows what its values mean."""
    with pytest.raises(ModelError, match=r"expected uint16 \[9, 9, 1\]"):
        deep.predict([np.zeros(*shape_and_type)])
    with pytest.raises(ModelError, match=r"expected uint8 \[9, 9, 3\]"):
        tiny.predict([np.zeros(*shape_and_type)])
    with pytest.raises(ModelError, match=r"expected \[H, W, 1\]"):
        deep.predict([np.zeros((9, 9), np.uint16)])


def test_a_checkpoint_brings_its_picture_format_and_precision(tmp_path):
    """bf16 by itself would lose the low bits; who asks for it gets it."""
    path = tmp_path / "deep.safetensors"
    network = build_detector("tiny", classes=2, channels=1)
    policy = LetterboxPolicy(size_hw=(64, 64), picture_format=DEEP)
    save_detector(path, network, class_names=("a", "b"), letterbox=policy, metadata={})
    predictor = Predictor.from_file(path, device="cpu", precision="auto")
    assert (predictor.picture_format, predictor.backend.precision) == (DEEP, "float32")
    assert Predictor.from_file(path, device="cpu", precision="bf16").backend.precision == "bf16"
    predictor.backend.warm_up((64, 64))
