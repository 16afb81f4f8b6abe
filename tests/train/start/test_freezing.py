"""Which layers are meant, and that nothing of them moves: weights, statistics, average."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vedette.config.hyperparameters import Hyperparameters
from vedette.errors import UsageError
from vedette.loss.detection_loss import DetectionLoss
from vedette.model.detector import Detector, build_detector
from vedette.train.ema import WeightAverage
from vedette.train.optimizer import build_optimizer
from vedette.train.start.freezing import freeze, frozen_names


@pytest.fixture(scope="module")
def tiny() -> Detector:
    return build_detector("tiny", classes=2)


def _numbers(*numbers: int) -> tuple[str, ...]:
    return tuple(f"model.{number}" for number in numbers)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ()),
        (["0"], ()),
        (["10"], _numbers(*range(10))),
        (["0", "1", "2"], _numbers(0, 1, 2)),
        (["3", "3"], _numbers(3)),
        (["backbone"], _numbers(*range(10))),
        (["neck"], _numbers(*range(10, 24))),
        (["head"], ("model.24.m.0", "model.24.m.1", "model.24.m.2")),
        (["backbone.p3"], _numbers(4)),
        (
            ["model.3", "model.4.cv1.", "model.5.conv.weight"],
            ("model.3", "model.4.cv1", "model.5.conv.weight"),
        ),
        (["7", "head"], ("model.7", "model.24.m.0", "model.24.m.1", "model.24.m.2")),
    ],
)
def test_words(tiny: Detector, words: list[str], expected: tuple[str, ...]) -> None:
    assert frozen_names(tiny, words) == expected


def test_the_head_of_v1_is_made_of_rows() -> None:
    detector = build_detector("yolov5s@v1.0", classes=2)
    heads = frozen_names(detector, ["head"])
    assert heads == _numbers(18, 22, 26)
    assert not set(heads) & set(frozen_names(detector, ["neck"]))


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("backbon", "did you mean 'backbone'?"),
        ("backbone.p9", "did you mean 'backbone.p"),
        ("model.99", "did you mean 'model."),
        ("model.3.con.weight", "did you mean 'model.3.conv.weight'?"),
        ("", "known: "),
    ],
)
def test_unknown_names_fail_with_the_nearest(tiny: Detector, word: str, hint: str) -> None:
    with pytest.raises(UsageError, match=r"^--freeze.*no part, layer or tensor of this name") as failure:
        frozen_names(tiny, [word])
    assert hint in str(failure.value)


@pytest.mark.parametrize("words", [["-1"], ["26"], ["0", "25"]])
def test_layers_that_do_not_exist(tiny: Detector, words: list[str]) -> None:
    with pytest.raises(UsageError, match="there is no such layer; choose from 0 to"):
        frozen_names(tiny, words)


@pytest.mark.parametrize("words", [["25"], ["model"], ["backbone", "neck", "head"]])
def test_something_has_to_learn(tiny: Detector, words: list[str]) -> None:
    with pytest.raises(UsageError, match="leaves nothing to learn"):
        freeze(tiny, words)
    assert all(parameter.requires_grad for parameter in tiny.parameters())


def _trained(words: list[str], optimizer: str) -> tuple[Detector, WeightAverage, tuple[str, ...]]:
    """Two steps with weight decay, an epoch's ``train()`` between them."""
    detector = build_detector("tiny", classes=2, seed=5)
    frozen = freeze(detector, words)
    average = WeightAverage(detector, decay=0.5, ramp=0)
    hyperparameters = Hyperparameters(lr0=0.01)
    updates: Any = build_optimizer(detector, hyperparameters, optimizer, 0.1)  # type: ignore[arg-type]
    loss = DetectionLoss(hyperparameters, anchors=detector.head.anchors, classes=2, strides=detector.strides)
    for step in range(2):
        detector.eval()  # as measuring would leave it
        detector.train()
        images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(step))
        total, _ = loss(detector(images), torch.tensor([[0.0, 1, 0.5, 0.5, 0.4, 0.4]]))
        total.backward()
        assert all(
            parameter.grad is None for name, parameter in detector.named_parameters() if name in frozen
        )
        updates.step()
        updates.zero_grad()
        average.update(detector)
    return detector, average, frozen


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_nothing_of_frozen_layers_moves(optimizer: str) -> None:
    untouched = build_detector("tiny", classes=2, seed=5).state_dict()
    detector, average, frozen = _trained(["10"], optimizer)
    below = tuple(f"model.{number}." for number in range(10))
    assert set(frozen) == {name for name, _ in detector.named_parameters() if name.startswith(below)}
    for name, tensor in detector.state_dict().items():
        if name.startswith(below):
            assert torch.equal(tensor, untouched[name]), name
            assert torch.equal(average.tensors[name], untouched[name]), name
    moved = [name for name in untouched if not torch.equal(detector.state_dict()[name], untouched[name])]
    assert {name.split(".")[1] for name in moved} >= {"10", "23", "24"}
    assert any(name.endswith("running_mean") for name in moved)


def test_without_freezing_statistics_and_weights_move() -> None:
    """Negative control of the test above."""
    untouched = build_detector("tiny", classes=2, seed=5).state_dict()
    detector, _, frozen = _trained([], "SGD")
    assert not frozen
    for name in ("model.0.conv.conv.weight", "model.1.bn.running_mean", "model.1.bn.num_batches_tracked"):
        assert not torch.equal(detector.state_dict()[name], untouched[name]), name
