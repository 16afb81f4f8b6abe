import numpy as np
import pytest

from vedette.checkpoint.deployable import save_detector
from vedette.core.letterbox import LetterboxPolicy
from vedette.errors import CheckpointError, ModelError, UsageError
from vedette.infer.load import load
from vedette.infer.tiling import TiledPredictor
from vedette.model.detector import build_detector


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    letterbox = LetterboxPolicy(size_hw=(64, 96), shape="minimal")
    detector = build_detector("tiny", classes=2, seed=3)
    save_detector(path, detector, class_names=("red", "blue"), letterbox=letterbox, metadata={})
    return path


def test_the_file_decides_what_is_not_said(weights):
    predictor = load(weights, device="cpu")
    assert predictor.letterbox == LetterboxPolicy(size_hw=(64, 96), shape="minimal")
    assert (predictor.nms.conf_threshold, predictor.nms.max_detections) == (0.25, 300)


def test_every_setting_arrives(weights):
    predictor = load(
        weights,
        device="cpu",
        precision="bf16",
        image_size=128,
        letterbox="square",
        conf_threshold=0.001,
        iou_threshold=0.6,
        classes=["blue", 0],
        agnostic_nms=True,
        multi_label=False,
        max_detections=7,
    )
    nms = predictor.nms
    assert predictor.letterbox == LetterboxPolicy(size_hw=(128, 128), shape="square")
    assert predictor.backend.precision == "bf16"
    assert (nms.conf_threshold, nms.iou_threshold, nms.class_ids) == (0.001, 0.6, (1, 0))
    assert (nms.agnostic, nms.multi_label, nms.max_detections) == (True, False, 7)
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    (found,) = predictor.predict([image])
    assert len(found) <= 7


def test_views_files_and_tiles_arrive(weights):
    predictor = load(
        [weights, str(weights)],
        device="cpu",
        augment=True,
        ensemble="wbf",
        ensemble_weights=[1, 2],
        tile=(64, 96),
        overlap=0.4,
        tile_whole=False,
        conf_threshold=0.001,
    )
    assert isinstance(predictor, TiledPredictor)
    assert predictor.to_dict() == {"tile_hw": [64, 96], "overlap": 0.4, "whole": False}
    assert predictor.backend.combines == "2 detectors by wbf, three views of a picture each"
    assert predictor.nms.conf_threshold == 0.001
    (found,) = predictor.predict([np.zeros((150, 200, 3), np.uint8)])
    assert found.size_hw == (150, 200)
    assert load(weights, device="cpu", tile=64).tile_hw == (64, 64)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"classes": ["bleu"]}, UsageError, "did you mean 'blue'"),
        ({"classes": [2]}, UsageError, "there is no class 2"),
        ({"conf_threshold": 1.5}, ModelError, "not between 0 and 1"),
        ({"device": "cuda:99"}, UsageError, "no such device"),
        ({"tile": 8}, ModelError, "at least 32 pixels"),
        ({"ensemble_weights": [1]}, UsageError, "one file is no ensemble"),
    ],
)
def test_mistakes_are_named(weights, settings, error, text):
    with pytest.raises(error, match=text):
        load(weights, **{"device": "cpu", **settings})


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        load(tmp_path / "nowhere.safetensors", device="cpu")
