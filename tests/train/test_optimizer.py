import json
from pathlib import Path

import pytest
import torch
from torch import nn

from vedette.config.hyperparameters import Hyperparameters
from vedette.errors import ConfigError
from vedette.model.detector import Detector, build_detector
from vedette.model.releases import architecture
from vedette.train.optimizer import (
    GROUP_NAMES,
    apply_settings,
    build_optimizer,
    parameter_groups,
    scaled_weight_decay,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "training" / "24-training-misc.json").read_text())
CASES = {case["id"]: case for case in GOLDEN["cases"]}


@pytest.fixture(scope="module")
def tiny():
    return build_detector("tiny", classes=3, seed=0)


def test_golden_group_sizes():
    """tests/golden/training/24-training-misc.json T24.10: 62 biases, 62 decayed weights, 59 others."""
    text = CASES["T24.10"]["expected"][1]
    with torch.device("meta"):
        groups = parameter_groups(Detector(architecture("yolov5s", classes=3)))
    sizes = (len(groups.bias), len(groups.decayed), len(groups.normalization))
    assert text == f"Optimizer groups: {sizes[0]} .bias, {sizes[1]} conv.weight, {sizes[2]} other"


@pytest.mark.parametrize("name", ["T24.4", "T24.5", "T24.6"])
def test_golden_weight_decay(name):
    """tests/golden/training/24-training-misc.json T24.4 to T24.6."""
    case = CASES[name]
    scaled = scaled_weight_decay(0.0005, case["input"]["total_batch_size"], 64)
    assert scaled == pytest.approx(case["expected"]["weight_decay"], rel=1e-12)


def test_every_parameter_is_in_one_group(tiny):
    groups = parameter_groups(tiny)
    ids = [id(parameter) for group in groups for parameter in group]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(parameter) for parameter in tiny.parameters()}
    assert all(parameter.dim() == 4 for parameter in groups.decayed)
    assert all(parameter.dim() == 1 for parameter in (*groups.normalization, *groups.bias))


def test_shared_and_unusual_parameters():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.first = nn.Linear(2, 2)
            self.second = nn.Linear(2, 2)
            self.second.weight = self.first.weight
            self.norm = nn.GroupNorm(1, 2)

    odd = Odd()
    groups = parameter_groups(odd)
    assert [id(p) for p in groups.decayed] == [id(odd.first.weight)]
    assert len(groups.bias) == 3
    assert {id(p) for p in groups.normalization} == {id(odd.scale), id(odd.norm.weight)}


@pytest.mark.parametrize(
    ("kind", "expected"), [("SGD", torch.optim.SGD), ("Adam", torch.optim.Adam), ("AdamW", torch.optim.AdamW)]
)
def test_groups_and_rates_of_the_optimizer(tiny, kind, expected):
    hyperparameters = Hyperparameters()
    optimizer = build_optimizer(tiny, hyperparameters, kind, 0.0004)
    assert type(optimizer) is expected
    assert tuple(group["name"] for group in optimizer.param_groups) == GROUP_NAMES
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.0004, 0.0]
    apply_settings(optimizer, (0.1, 0.2, 0.3), 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2, 0.3]
    for group in optimizer.param_groups:
        if kind == "SGD":
            assert group["momentum"] == 0.5
            assert group["nesterov"]
        else:
            assert group["betas"] == (hyperparameters.momentum, 0.999)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_the_fused_optimizer_equals_the_plain_one(kind):
    """Five steps with changing rates; float32 rounding differs by the order of operations only."""
    hyperparameters = Hyperparameters()

    def make():
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))

    ours, theirs = make(), make()
    fused = build_optimizer(ours, hyperparameters, kind, 0.01)
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in zip(parameter_groups(theirs), (0.0, 0.01, 0.0), strict=True)
    ]
    if kind == "SGD":
        plain = torch.optim.SGD(groups, lr=0.01, momentum=0.937, nesterov=True, foreach=False)
    else:
        plain = getattr(torch.optim, kind)(groups, lr=0.01, betas=(0.937, 0.999), foreach=False)
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        for first, second in zip(ours.parameters(), theirs.parameters(), strict=True):
            first.grad = torch.randn(first.shape, generator=generator)
            second.grad = first.grad.clone()
        for optimizer in (fused, plain):
            apply_settings(optimizer, (0.01 * step, 0.01 * step, 0.1), 0.8 + 0.02 * step)
            optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_what_makes_no_sense_is_refused(tiny):
    with pytest.raises(ConfigError, match="unknown optimizer"):
        build_optimizer(tiny, Hyperparameters(), "RMSprop", 0.0)
    with pytest.raises(ConfigError, match="momentum: must be above 0"):
        build_optimizer(tiny, Hyperparameters(momentum=0.0), "SGD", 0.0)
    with pytest.raises(ConfigError, match="no parameters in one of the groups"):
        build_optimizer(nn.Linear(2, 2, bias=False), Hyperparameters(), "SGD", 0.0)


def test_adamw_decays_weights_apart_from_their_gradients():
    """Without gradients AdamW still shrinks the decayed group by lr * decay, and nothing else; Adam's L2 does not."""
    for kind, shrinks in (("AdamW", True), ("Adam", False)):
        model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizer = build_optimizer(model, Hyperparameters(lr0=0.1), kind, 0.5)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        after = dict(model.named_parameters())
        assert torch.allclose(after["0.weight"], before["0.weight"] * (1 - 0.1 * 0.5)) == shrinks
        assert all(torch.equal(after[name], before[name]) for name in before if name != "0.weight")
