from __future__ import annotations

import numpy as np
import pytest

from tests.export.exported_files import NAMES, pictures
from tests.model.lively import lively_detector
from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.core.nms import NmsSettings
from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.infer.assemble import Assembly, assemble
from vedette.infer.backends.pytorch import TorchBackend
from vedette.infer.ensemble import EnsembleBackend, Member
from vedette.infer.predictor import Predictor
from vedette.infer.tiling import TiledPredictor
from vedette.infer.tta import AugmentedBackend

POLICY = LetterboxPolicy(size_hw=(96, 128))
SETTINGS = NmsSettings(conf_threshold=0.3, max_detections=40)


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A detector with other weights and the classes in another order."""
    path = tmp_path_factory.mktemp("another") / "another.safetensors"
    detector = lively_detector()
    for convolution in detector.output_convolutions:
        convolution.weight.data.mul_(0.7)
    save_detector(path, detector, class_names=NAMES[::-1], letterbox=POLICY, metadata={})
    return path


def found(*weights, **wanted):
    predictor = assemble(Assembly(weights, device="cpu", **wanted)).with_settings(nms=SETTINGS)
    return predictor.predict(pictures())


def assert_same(first, second, **tolerance):
    for one, other in zip(first, second, strict=True):
        assert len(one) == len(other) > 0
        np.testing.assert_array_equal(one.class_ids, other.class_ids)
        np.testing.assert_allclose(one.boxes_xyxy_px, other.boxes_xyxy_px, **{"atol": 0, **tolerance})
        np.testing.assert_allclose(one.scores, other.scores, **{"atol": 0, **tolerance})


def test_one_file_is_what_a_predictor_makes_of_it(exports):
    weights = exports.weights
    assert_same(found(weights), Predictor.from_file(weights, device="cpu", nms=SETTINGS).predict(pictures()))


def test_views_members_and_tiles_are_put_together_in_this_order(exports, another):
    predictor = assemble(
        Assembly(
            (exports.weights, another),
            device="cpu",
            augment=True,
            ensemble="wbf",
            ensemble_weights=(2.0, 1.0),
            tile=(64, 96),
            overlap=0.25,
            tile_whole=False,
            tile_batch=3,
        )
    )
    assert isinstance(predictor, TiledPredictor)
    assert (predictor.to_dict(), predictor.batch_size) == (
        {"tile_hw": [64, 96], "overlap": 0.25, "whole": False},
        3,
    )
    by_hand = [
        Member(path.name, AugmentedBackend(opened.backend), opened.class_names, opened.letterbox)
        for path in (exports.weights, another)
        for opened in [Predictor.from_file(path, device="cpu")]
    ]
    inner = Predictor(EnsembleBackend(by_hand, "wbf", (2.0, 1.0)), POLICY, NAMES, SETTINGS)
    expected = TiledPredictor(inner, (64, 96), 0.25, whole=False, batch_size=3)
    assert_same(predictor.with_settings(nms=SETTINGS).predict(pictures()), expected.predict(pictures()))


def test_a_checkpoint_and_an_exported_file_of_it(exports):
    """One after the other on the same frames; runtimes sum float32 in other orders."""
    files = exports.weights, exports.path("torchscript")
    predictor = assemble(Assembly(files, device="cpu"))
    frames = np.stack([predictor.prepare(image).frame for image in pictures()[:1]])
    first, second = np.split(predictor.backend.run(frames).decoded(), 2, axis=1)
    np.testing.assert_allclose(second, first, rtol=0.01, atol=0.01)
    (fused,) = assemble(Assembly(files, device="cpu", ensemble="wbf")).backend.run(frames).suppress(SETTINGS)
    assert 0 < len(fused.detections) <= 40


def test_views_of_an_exported_file(exports):
    """Bytes instead of fractions: within what rounding to grey levels does (docs/ensembles.md)."""
    exported = assemble(Assembly((exports.path("torchscript", dynamic="all"),), device="cpu", augment=True))
    checkpoint = assemble(Assembly((exports.weights,), device="cpu", augment=True))
    frames = np.stack([checkpoint.prepare(image).frame for image in pictures()])
    got, expected = (one.backend.run(frames).decoded() for one in (exported, checkpoint))
    assert got.shape == expected.shape
    assert np.abs(got[..., 4:] - expected[..., 4:]).mean() < 0.005
    assert not np.array_equal(got, expected), "the runtimes are not the same"


def test_views_need_open_sizes_and_open_predictions(exports):
    with pytest.raises(UsageError, match=r"--augment: the network takes frames of 96x128 only"):
        assemble(Assembly((exports.path("torchscript"),), device="cpu", augment=True))


def test_released_rules_come_with_the_release(tmp_path):
    """v7.0 leaves out parts of two views, where published figures are reproduced."""
    image = pictures(1)
    for model, clips in (("yolov5n@v7.0", True), ("yolov5n@v4.0", False)):
        path = tmp_path / f"{model}.safetensors"
        save_detector(path, lively_detector(model), class_names=NAMES, letterbox=POLICY, metadata={})
        frames = Predictor.from_file(path, device="cpu").prepare(image[0]).frame[None]
        rows = [
            assemble(Assembly((path,), device="cpu", augment=True, published_views=published))
            .backend.run(frames)
            .decoded()
            .shape[1]
            for published in (False, True)
        ]
        assert (rows[1] < rows[0]) == clips


def test_size_and_letterbox_of_all_members(exports, another):
    wanted = Assembly((exports.weights, another), device="cpu", image_size=(64, 64), letterbox="stretch")
    assert assemble(wanted).letterbox == LetterboxPolicy(size_hw=(64, 64), shape="stretch")
    wanted = Assembly((another,), device="cpu", image_size=(64, 64), letterbox="stretch")
    assert assemble(wanted).letterbox == LetterboxPolicy(size_hw=(64, 64), shape="stretch")


@pytest.mark.parametrize(
    ("wanted", "error", "text"),
    [
        ({"ensemble": "wbf"}, UsageError, "--ensemble: one file is no ensemble"),
        ({"ensemble_weights": (1.0,)}, UsageError, "--ensemble-weights: one file is no ensemble"),
        ({"tile": (8, 8)}, ModelError, "at least 32 pixels"),
        ({"device": "cuda:99"}, UsageError, "no such device"),
    ],
)
def test_what_does_not_go_together(another, wanted, error, text):
    with pytest.raises(error, match=text):
        assemble(Assembly((another,), **{"device": "cpu", **wanted}))


def test_files_that_are_not_there(another, tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        assemble(Assembly((another, tmp_path / "nowhere.safetensors"), device="cpu"))
    with pytest.raises(UsageError, match="no file is named"):
        assemble(Assembly(()))


def test_the_backend_of_one_checkpoint_is_torch(another):
    assert isinstance(assemble(Assembly((another,), device="cpu")).backend, TorchBackend)
