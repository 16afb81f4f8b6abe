import json

import numpy as np
import pytest
import torch

from tests.conftest import GOLDEN
from tests.hub.small_model import NAMES, noise, small_model
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import ImageError, ModelError, UsageError
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.predictor import Predictor
from vedette.model.detector import build_detector

CASES = json.loads((GOLDEN / "spec" / "geometry.json").read_text())["autoshape"]
SIZES = [case for case in CASES if "image_hw" in case]
KINDS = [case for case in CASES if case.get("kind") not in (None, "tensor")]


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def strict():
    """For questions of size only: nothing passes the threshold."""
    return small_model(conf=1.0)


@pytest.mark.parametrize("case", SIZES, ids=lambda case: f"{case['image_hw']}-{case['size']}")
def test_golden_autoshape_sizes(strict, case):
    results = strict([np.zeros((*size_hw, 3), np.uint8) for size_hw in case["image_hw"]], size=case["size"])
    assert list(results.s) == case["model_input"]


@pytest.mark.parametrize("case", KINDS, ids=lambda case: case["kind"])
def test_golden_autoshape_kinds_of_arrays(strict, case):
    results = strict(np.zeros(case["input_shape"], np.uint8), size=case["size"])
    assert list(results.s) == case["model_input"]
    assert list(results.ims[0].shape) == case["stored_image_shape"]


def test_golden_autoshape_tensor(model):
    (case,) = [case for case in CASES if case.get("kind") == "tensor"]
    answer = model(torch.zeros(case["input_shape"]))
    assert type(answer).__name__ == case["result_type"]
    decoded, levels = answer
    assert decoded.shape[0] == case["model_input"][0]
    assert len(levels) == 3


def test_the_same_boxes_as_the_predictor():
    """Where no padding is rounded, the published way back to the picture is vedette's own."""
    model = small_model()
    model.max_det = 50
    (image,) = noise((96, 128, 3))
    nms = NmsSettings(conf_threshold=model.conf, multi_label=False, max_detections=50)
    backend = TorchBackend(model.model.detector)
    (own,) = Predictor(backend, LetterboxPolicy(size_hw=(96, 128)), NAMES, nms).predict([image])
    (rows,) = model(image, size=128).xyxy
    assert len(own) == len(rows) > 5
    np.testing.assert_allclose(rows[:, :4].numpy(), own.boxes_xyxy_px, atol=2e-2)
    np.testing.assert_allclose(rows[:, 4].numpy(), own.scores, rtol=1e-3)
    np.testing.assert_array_equal(rows[:, 5].numpy(), own.class_ids)


def test_batch_equals_single(model):
    images = noise((60, 128, 3), (50, 128, 3))
    together = model(images, size=128)
    assert together.s == (2, 3, 64, 128)
    for image, batched in zip(images, together.xyxy, strict=True):
        (single,) = model(image, size=128).xyxy
        torch.testing.assert_close(single, batched, atol=2e-2, rtol=1e-3)


def test_boxes_are_in_each_pictures_own_pixels(model):
    images = noise((60, 128, 3), (30, 64, 3))
    first, second = model(images, size=128).xyxy
    assert first[:, 2].max() > 64
    assert second[:, 2].max() <= 64
    assert second[:, 3].max() <= 30


ATTRIBUTES = [
    ("conf", 1.0, lambda rows, plain: len(rows) == 0),
    ("iou", 0.01, lambda rows, plain: 0 < len(rows) < len(plain)),
    ("classes", [1], lambda rows, plain: set(rows[:, 5].tolist()) == {1.0}),
    ("classes", [], lambda rows, plain: len(rows) == 0),
    ("agnostic", True, lambda rows, plain: 0 < len(rows) < len(plain)),
    ("multi_label", True, lambda rows, plain: len(rows) > len(plain)),
    ("max_det", 3, lambda rows, plain: torch.equal(rows, plain[:3])),
    ("amp", True, torch.equal),  # nothing to lower on a CPU
]


@pytest.mark.parametrize(
    ("name", "value", "expected"), ATTRIBUTES, ids=[f"{a[0]}={a[1]}" for a in ATTRIBUTES]
)
def test_every_attribute_counts_from_the_next_call(name, value, expected):
    model = small_model()
    (image,) = noise((64, 96, 3))
    (plain,) = model(image, size=96).xyxy
    setattr(model, name, value)
    assert expected(model(image, size=96).xyxy[0], plain)


def test_weights_that_change_count_from_the_next_call():
    model = small_model()
    (image,) = noise((64, 96, 3))
    before = model(image, size=96).xyxy[0]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    after = model(image, size=96).xyxy[0]
    assert before.shape != after.shape or not torch.equal(before, after)
    assert model.double()(image, size=96).n == 1


def test_augment_adds_views_and_profile_prints_layers(capsys):
    model = small_model()
    (image,) = noise((64, 96, 3))
    assert len(model(image, size=96, augment=True).xyxy[0]) != len(model(image, size=96).xyxy[0])
    assert capsys.readouterr().out == ""
    model(image, size=96, profile=True)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(model.model.model) + 1  # and the sum
    assert lines[0].endswith("Focus")


def test_boxes_in_the_padding_are_none(model):
    (rows,) = model(noise((64, 33, 3)), size=64).xyxy
    assert len(rows) > 5
    assert (rows[:, 2:4] > rows[:, :2]).all()
    assert all(crop["im"].size for crop in model(noise((64, 33, 3)), size=64).crop(save=False))


def test_size_of_two_counts_by_its_longer_side(strict):
    (image,) = noise((64, 96, 3))
    assert strict(image, size=(64, 96)).s == strict(image, size=96).s == (1, 3, 64, 96)


@pytest.mark.parametrize("size", [0, -640, 64.5, "640", ()])
def test_what_is_no_size_is_refused(strict, size):
    with pytest.raises(UsageError, match="is no size"):
        strict(noise((64, 96, 3)), size=size)


def test_what_is_no_setting_is_refused():
    model = small_model()
    model.classes = [2]
    with pytest.raises(UsageError, match="there is no class 2"):
        model(noise((64, 96, 3)), size=96)
    model.classes, model.conf = None, 2.0
    with pytest.raises(ModelError, match="not between 0 and 1"):
        model(noise((64, 96, 3)), size=96)


def test_missing_file_and_no_picture(strict, tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        strict(tmp_path / "nowhere.jpg")
    with pytest.raises(UsageError, match="there is no picture"):
        strict([])


def test_weights_that_are_no_number_are_an_error():
    model = small_model()
    with torch.no_grad():
        next(iter(model.parameters())).fill_(float("nan"))
    with pytest.raises(ModelError, match="not a number"):
        model(noise((64, 96, 3)), size=96)


def test_a_bare_detector_gets_numbered_names():
    from vedette.hub.autoshape import AutoShape

    model = AutoShape(build_detector("tiny", classes=2))
    assert model.names == {0: "class0", 1: "class1"}
    assert not model.model.training
    assert model.autoshape() is model
    assert (model.nc, int(model.stride.max())) == (2, 32)
    assert next(iter(model.state_dict())).startswith("model.model.0.")
