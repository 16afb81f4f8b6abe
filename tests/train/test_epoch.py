"""The norm of a gradient is measured once: for the check that it is finite, and for its limit; what a skip leaves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vedette.config.hyperparameters import Hyperparameters
from vedette.errors import DivergedError
from vedette.train.ema import WeightAverage
from vedette.train.epoch import (
    MAX_SKIPPED_IN_A_ROW,
    StepRules,
    _optimizer_step,
    clip_gradients,
    gradient_norm,
)
from vedette.train.optimizer import build_optimizer
from vedette.train.state import TrainState


def _model(*gradients: list[float]) -> nn.Module:
    model = nn.ParameterList(nn.Parameter(torch.zeros(len(values))) for values in gradients)
    for parameter, values in zip(model, gradients, strict=True):
        parameter.grad = torch.tensor(values)
    return model


def test_the_norm_is_that_of_all_gradients_together() -> None:
    assert gradient_norm(_model([3.0, 0.0], [4.0])) == pytest.approx(5.0)
    assert gradient_norm(nn.Linear(2, 2)) == 0.0
    assert math.isnan(gradient_norm(_model([3.0], [math.nan])))


def test_a_long_gradient_keeps_its_direction() -> None:
    model = _model([3.0, 0.0], [4.0])
    clip_gradients(model, gradient_norm(model), 1.0)
    assert gradient_norm(model) == pytest.approx(1.0)
    assert [parameter.grad.tolist() for parameter in model.parameters()] == [  # type: ignore[union-attr]
        pytest.approx([0.6, 0.0]),
        pytest.approx([0.8]),
    ]


@pytest.mark.parametrize("limit", [0.0, 5.0, 10.0])
def test_a_short_gradient_and_no_limit_change_nothing(limit: float) -> None:
    model = _model([3.0, 0.0], [4.0])
    clip_gradients(model, gradient_norm(model), limit)
    assert [parameter.grad.tolist() for parameter in model.parameters()] == [[3.0, 0.0], [4.0]]  # type: ignore[union-attr]


def test_the_same_as_torch() -> None:
    generator = torch.Generator().manual_seed(2)
    values = [torch.randn(5, generator=generator).tolist() for _ in range(3)]
    ours, theirs = _model(*values), _model(*values)
    clip_gradients(ours, gradient_norm(ours), 0.7)
    nn.utils.clip_grad_norm_(theirs.parameters(), 0.7)
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(own.grad, other.grad, rtol=1e-5)  # type: ignore[arg-type]


def _half_precision_state(scale: float = 1024.0) -> TrainState:
    """A state whose loss is scaled, as with float16 on a GPU."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    return TrainState(
        model,
        WeightAverage(model, decay=0.9, ramp=3),
        build_optimizer(model, Hyperparameters(), "SGD", 1e-3),
        torch.amp.GradScaler("cpu", init_scale=scale, enabled=True),
    )


def _step(state: TrainState, factor: float) -> bool:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * factor
    state.scaler.scale(state.model(images).square().mean()).backward()
    rules = StepRules(
        loss=None,  # type: ignore[arg-type]  # only the step is taken
        schedule=None,  # type: ignore[arg-type]
        device=torch.device("cpu"),
        dtype=torch.float16,
        picture_name=lambda number: f"{number}.png",
    )
    return _optimizer_step(rules, state, [4, 7])


def test_with_a_scaled_loss_a_step_that_goes_too_far_is_skipped_and_the_scale_lowered() -> None:
    state = _half_precision_state()
    assert _step(state, 1.0)
    before = {name: tensor.clone() for name, tensor in state.tensors().items() if "scaler/" not in name}
    for skipped in (1, 2):
        assert not _step(state, math.nan)
        assert state.scaler.get_scale() == 1024.0 / 2**skipped
        assert (state.progress.skipped_steps, state.progress.skipped_in_a_row) == (skipped, 0)
        after = state.tensors()
        assert [name for name, tensor in before.items() if not torch.equal(after[name], tensor)] == [
            "model/1.num_batches_tracked"
        ]
    assert _step(state, 1.0)
    assert (state.progress.optimizer_steps, state.progress.skipped_in_a_row) == (2, 0)
    state.require_finite()


def test_finding_the_scale_of_the_loss_is_no_divergence() -> None:
    """From the usual 65,536 it may take more overflows in a row than a run may have."""
    state = _half_precision_state(scale=65_536.0)
    for _ in range(2 * MAX_SKIPPED_IN_A_ROW):
        assert not _step(state, math.inf)
    assert state.progress.skipped_in_a_row == 0
    assert _step(state, 1.0)


def test_with_a_scaled_loss_too_many_in_a_row_name_their_pictures() -> None:
    state = _half_precision_state(scale=1.0)
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        assert not _step(state, math.inf)
    with pytest.raises(DivergedError, match=r"5 times in a row, .* 4\.png, 7\.png"):
        _step(state, math.inf)
    state.require_finite()
