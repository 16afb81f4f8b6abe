"""The validation loss is that of a plain pass over the split, and leaves training alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.flow.conftest import draw_rectangles
from vedette.config.evaluate import EvaluateConfig
from vedette.config.hyperparameters import Hyperparameters
from vedette.core.letterbox import LetterboxPolicy
from vedette.data.description import load_description
from vedette.data.images import read_image
from vedette.data.index import SplitIndex, load_index
from vedette.evaluate.run import evaluate
from vedette.infer.predictor import Predictor
from vedette.loss.detection_loss import DetectionLoss
from vedette.loss.rules import RULES, LossRules
from vedette.model.detector import Detector, build_detector
from vedette.train.validation_loss import (
    LossMeter,
    WatchedBackend,
    mean_losses,
    validation_targets,
)

LETTERBOX = LetterboxPolicy(size_hw=(64, 64), stride=32, shape="minimal")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> SplitIndex:
    """Five pictures."""
    folder = tmp_path_factory.mktemp("set")
    description = draw_rectangles(folder, train=1, val=5, size=80)
    return load_index(load_description(str(description)), "val", cache_dir=folder / "cache")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return build_detector("tiny", classes=2, seed=1).eval()


def _loss(detector: Detector, rules: LossRules = RULES["v4.0"]) -> DetectionLoss:
    return DetectionLoss(
        Hyperparameters(),
        anchors=detector.head.anchors,
        classes=2,
        strides=detector.strides,
        rules=rules,
    )


def _metered(index: SplitIndex, detector: Detector, loss: DetectionLoss, batch_size: int) -> dict[str, float]:
    backend = WatchedBackend(detector)
    predictor = Predictor(backend, LETTERBOX, index.class_names)
    meter = LossMeter(loss, backend, index, LETTERBOX)
    evaluate(predictor, index, EvaluateConfig(batch_size=batch_size), watch=meter.add)
    return mean_losses([meter.items()])


def test_it_is_the_mean_over_batches_of_a_plain_pass(index: SplitIndex, detector: Detector) -> None:
    loss, rows = _loss(detector), []
    for positions in ([0, 1], [2, 3], [4]):
        frames = [LETTERBOX.place((80, 80)).apply(read_image(index.image_path(place))) for place in positions]
        images = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255
        true = validation_targets(index, positions, LETTERBOX)
        with torch.no_grad():
            rows.append(loss(detector(images), torch.from_numpy(true.targets))[1])
    expected = torch.stack(rows).mean(dim=0).tolist()
    found = _metered(index, detector, loss, batch_size=2)
    assert list(found) == ["box", "obj", "cls"]
    assert list(found.values()) == pytest.approx(expected, rel=1e-4)  # the backend's layers are fused


def test_the_same_bits_twice(index: SplitIndex, detector: Detector) -> None:
    assert _metered(index, detector, _loss(detector), 4) == _metered(index, detector, _loss(detector), 4)


def test_a_loss_that_balances_levels_is_not_changed(index: SplitIndex, detector: Detector) -> None:
    loss = _loss(detector, replace(RULES["v4.0"], balances_levels=True))
    before = loss.level_weights.clone()
    _metered(index, detector, loss, 2)
    assert torch.equal(loss.level_weights, before)


def test_targets_lie_where_their_boxes_are_in_the_frame(index: SplitIndex) -> None:
    """64 of 80 pixels: 0..1 of the frame is 0..1 of a square picture; a wide frame adds padding."""
    true = validation_targets(index, [1, 0], LETTERBOX)
    labels = index.labels(1)
    rows = true.targets[true.targets[:, 0] == 0]
    centres = (labels.boxes_xyxy_px[:, :2] + labels.boxes_xyxy_px[:, 2:]) / 2 / 80
    assert rows[:, 2:4] == pytest.approx(centres, abs=1e-6)
    wide = LetterboxPolicy(size_hw=(64, 128), stride=32, shape="square")
    padded = validation_targets(index, [1], wide).targets
    assert padded[:, 2] == pytest.approx((centres[:, 0] * 64 + 32) / 128, abs=1e-6)
    assert true.labelled is None


def test_an_unknown_background_is_ignored_as_in_training(index: SplitIndex) -> None:
    """The whole picture, not the padding of its frame."""
    unknown = replace(index, background_unknown=np.ones(len(index), np.bool_))
    wide = LetterboxPolicy(size_hw=(64, 128), stride=32, shape="square")
    known, found = validation_targets(index, [1, 0], wide), validation_targets(unknown, [1, 0], wide)
    np.testing.assert_array_equal(found.targets, known.targets)
    assert len(known.ignored) == 0
    np.testing.assert_allclose(found.ignored, [[0, 0, 0.5, 0.5, 0.5, 1], [1, 0, 0.5, 0.5, 0.5, 1]])


def test_without_pictures_there_is_no_loss(index: SplitIndex, detector: Detector) -> None:
    meter = LossMeter(_loss(detector), WatchedBackend(detector), index, LETTERBOX)
    meter.add([])
    assert mean_losses([meter.items()]) == {}


def test_the_mean_does_not_depend_on_the_number_of_parts() -> None:
    batches: list[list[float] | None] = [[0.1, 0.2, 0.3], None, [0.7, 0.1, 0.11], [0.3, 0.3, 0.3]]
    assert mean_losses([batches]) == mean_losses([batches[0::2], batches[1::2]])
