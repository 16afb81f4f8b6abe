import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from vedette.errors import CheckpointError
from vedette.train.ema import PUBLISHED_DECAY, PUBLISHED_RAMP, WeightAverage, fitted_average

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "training" / "03-ema.json").read_text())
CASES = {case["id"]: case for case in GOLDEN["cases"]}


class One(nn.Module):
    """One weight and the statistics of a batch normalization over one channel."""

    def __init__(self, weight=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight]))
        self.norm = nn.BatchNorm1d(1, affine=False)


def published(model):
    return WeightAverage(model, decay=PUBLISHED_DECAY, ramp=PUBLISHED_RAMP)


def test_golden_decay():
    """tests/golden/training/03-ema.json T03.1; float64."""
    case = CASES["T03.1"]
    average = published(One())
    for updates, expected in zip(case["input"]["updates"], case["expected"], strict=True):
        average.updates = updates
        assert average.current_decay() == pytest.approx(expected, rel=1e-12)


def test_golden_sequence():
    """tests/golden/training/03-ema.json T03.2; 1e-6 relative, float32."""
    case = CASES["T03.2"]
    given = case["input"]
    model = One(given["initial_weight"])
    model.norm.running_mean.fill_(given["initial_running_mean"])
    average = published(model)
    for weight, mean, expected in zip(
        given["weights"], given["running_means"], case["expected"], strict=True
    ):
        model.weight.data.fill_(weight)
        model.norm.running_mean.fill_(mean)
        average.update(model)
        assert average.updates == expected["updates"]
        assert average.tensors["weight"].item() == pytest.approx(expected["weight"], rel=1e-6)
        assert average.tensors["norm.running_mean"].item() == pytest.approx(
            expected["running_mean"], rel=1e-6
        )
        assert average.tensors["norm.num_batches_tracked"].item() == expected["num_batches_tracked"]


def test_golden_resumed():
    """tests/golden/training/03-ema.json T03.3; 1e-6 relative, float32."""
    case = CASES["T03.3"]
    model = One(case["input"]["ema_weight"])
    average = published(model)
    average.load(average.state(), case["input"]["initial_updates"])
    model.weight.data.fill_(case["input"]["model_weight"])
    average.update(model)
    assert average.updates == case["expected"]["updates"]
    assert average.tensors["weight"].item() == pytest.approx(case["expected"]["weight"], rel=1e-6)


def small_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


def shake(model, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        model.train()(torch.rand(2, 3, 6, 6, generator=generator))


def test_many_updates_equal_the_plain_formula():
    model = small_network()
    average = WeightAverage(model, decay=0.9, ramp=5)
    expected = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    for update in range(1, 20):
        shake(model, update)
        average.update(model)
        decay = 0.9 * (1 - math.exp(-update / 5))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
            else:
                expected[name] = tensor.clone()
    for name, tensor in average.tensors.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_entries_that_never_change_keep_their_bits():
    model = small_network()
    model.register_buffer("anchors", torch.tensor([1.25, 0.1, 1 / 3]))
    average = WeightAverage(model, decay=0.97, ramp=3)
    for update in range(50):
        shake(model, update)
        average.update(model)
    assert torch.equal(average.tensors["anchors"], model.anchors)


def test_replaced_buffers_are_followed():
    model = small_network()
    average = WeightAverage(model, decay=0.5, ramp=0)
    model[1].running_mean = torch.full((4,), 8.0)
    average.update(model)
    torch.testing.assert_close(average.tensors["1.running_mean"], torch.full((4,), 4.0))


def test_the_average_of_half_precision_weights_is_float32():
    model = small_network().half()
    average = WeightAverage(model, decay=0.999, ramp=0)
    for parameter in model.parameters():
        parameter.data.add_(1)
    for _ in range(10):
        average.update(model)
    assert average.tensors["0.weight"].dtype == torch.float32
    # In float16 steps of a thousandth would be lost to rounding.
    moved = average.tensors["0.weight"] - small_network()[0].weight.half().float()
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - 0.999**10), rtol=0.1, atol=0)


def test_the_average_owns_its_memory_and_can_be_copied_out():
    model, copy = small_network(), small_network()
    average = WeightAverage(model, decay=0.9, ramp=2)
    before = {name: tensor.clone() for name, tensor in average.tensors.items()}
    shake(model, 1)
    assert all(torch.equal(average.tensors[name], before[name]) for name in before)
    average.update(model)
    average.copy_to(copy)
    assert all(torch.equal(tensor, average.tensors[name]) for name, tensor in copy.state_dict().items())
    assert not torch.equal(copy[0].weight, model[0].weight)


def test_a_resumed_average_goes_on_with_the_same_bits():
    model = small_network()
    whole = WeightAverage(model, decay=0.9, ramp=5)
    for update in range(3):
        shake(model, update)
        whole.update(model)
    resumed = WeightAverage(model, decay=0.9, ramp=5)
    resumed.load({name: tensor.clone() for name, tensor in whole.state().items()}, whole.updates)
    for update in range(3, 6):
        shake(model, update)
        whole.update(model)
        resumed.update(model)
    assert resumed.updates == whole.updates == 6
    assert all(torch.equal(resumed.tensors[name], whole.tensors[name]) for name in whole.tensors)


def test_a_foreign_average_is_refused_before_anything_changes():
    average = published(small_network())
    before = {name: tensor.clone() for name, tensor in average.tensors.items()}
    lacking = dict(before)
    lacking.pop("0.weight")
    with pytest.raises(CheckpointError, match=r"1 entries .* 0\.weight"):
        average.load(lacking, 3)
    with pytest.raises(CheckpointError, match=r"has shape \[2\], the model has \[4, 3, 3, 3\]"):
        average.load({**{name: tensor + 1 for name, tensor in before.items()}, "0.weight": torch.ones(2)}, 3)
    with pytest.raises(CheckpointError, match="negative"):
        average.load(before, -1)
    with pytest.raises(ValueError, match="another model"):
        average.update(small_network())
    assert all(torch.equal(average.tensors[name], before[name]) for name in before)
    assert average.updates == 0


def test_the_average_is_fitted_to_the_length_of_the_run():
    decay, ramp = fitted_average(780)
    assert decay == pytest.approx(0.998, abs=2e-4)
    assert ramp == pytest.approx(100, abs=5)
    assert fitted_average(500_000) == pytest.approx((PUBLISHED_DECAY, PUBLISHED_RAMP))
    assert fitted_average(780, decay=0.5) == (0.5, ramp)
    assert fitted_average(780, ramp=7.0) == (decay, 7.0)


@pytest.mark.parametrize("steps", [0, 1, 5, 50, 1000, 30_000, 10**7])
def test_the_start_is_forgotten_by_the_end_of_any_run(steps):
    decay, ramp = fitted_average(steps)
    assert 0 < decay <= PUBLISHED_DECAY
    remaining = math.prod(
        decay * (1 - math.exp(-update / ramp)) for update in range(1, min(max(steps, 1), 10_000) + 1)
    )
    assert remaining < 0.3
