"""A restored state goes on bit for bit, and foreign or damaged states are refused."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from vedette.checkpoint.state_folder import StateFolder
from vedette.config.hyperparameters import Hyperparameters
from vedette.errors import CheckpointError, DivergedError
from vedette.train.ema import WeightAverage
from vedette.train.optimizer import build_optimizer
from vedette.train.state import EpochSums, KeptBuffers, Progress, TrainState


def _state(kind: Literal["SGD", "Adam", "AdamW"] = "SGD", width: int = 4) -> TrainState:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)).to(
            memory_format=torch.channels_last
        )
    return TrainState(
        model,
        WeightAverage(model, decay=0.9, ramp=3),
        build_optimizer(model, Hyperparameters(lr0=0.01), kind, 1e-3),
        torch.amp.GradScaler("cpu", enabled=False),
    )


def _train(state: TrainState, first: int, count: int) -> None:
    for number in range(first, first + count):
        images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(number))
        state.model(images).square().mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.average.update(state.model)
        state.progress.step += 1


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW"])
def test_a_restored_state_goes_on_to_the_same_bits(
    tmp_path: Path, kind: Literal["SGD", "Adam", "AdamW"]
) -> None:
    straight = _state(kind)
    _train(straight, 0, 7)
    interrupted = _state(kind)
    _train(interrupted, 0, 3)
    StateFolder(tmp_path).save(3, interrupted.tensors(), interrupted.metadata())
    saved = StateFolder(tmp_path).load_latest()
    assert saved is not None
    resumed = _state(kind)
    resumed.restore(saved.tensors, saved.metadata)
    _train(resumed, 3, 4)
    expected, found = straight.tensors(), resumed.tensors()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.metadata() == straight.metadata()


def test_leaving_the_optimizer_out_is_noticed() -> None:
    """Negative control of the test above: without the optimizer's memory the bits differ."""
    straight, resumed = _state(), _state()
    _train(straight, 0, 3)
    tensors = {name: value.clone() for name, value in straight.tensors().items() if "optimizer/" not in name}
    resumed.restore(tensors, straight.metadata())
    _train(straight, 3, 2)
    _train(resumed, 3, 2)
    assert not torch.equal(straight.tensors()["model/0.weight"], resumed.tensors()["model/0.weight"])


def test_progress_round_trip() -> None:
    progress = Progress(step=5, history=[{"epoch": 0, "x": None}], sums=EpochSums([1.0, 2.0, 3.0], 2))
    assert Progress.from_json(progress.to_json()) == progress
    assert progress.sums.mean_losses() == {"box": 0.5, "obj": 1.0, "cls": 1.5}


@pytest.mark.parametrize(
    "damage", [{"step": -1}, {"step": "5"}, {"sums": {"losses": [1.0]}}, {"sums": None}, {"unknown": 1}]
)
def test_senseless_counters_are_refused(damage: dict[str, object]) -> None:
    with pytest.raises(CheckpointError):
        Progress.from_json({**Progress().to_json(), **damage})


def test_a_state_of_another_model_is_refused() -> None:
    with pytest.raises(CheckpointError, match="shape"):
        _state().restore(_state(width=5).tensors(), _state(width=5).metadata())


def test_buffers_can_be_put_back() -> None:
    model = nn.BatchNorm2d(2)
    kept = KeptBuffers(model)
    model(torch.full((2, 2, 4, 4), torch.nan))
    assert not model.running_mean.isfinite().all()  # type: ignore[union-attr]
    kept.put_back(model)
    assert torch.equal(model.running_mean, torch.zeros(2))  # type: ignore[arg-type]


def test_broken_buffers_are_repaired_and_sound_ones_left_alone() -> None:
    model = nn.BatchNorm2d(2)
    kept = KeptBuffers(model)
    model(torch.ones(2, 2, 4, 4))
    moved = model.running_mean.clone()  # type: ignore[union-attr,operator]
    kept.repair(model)
    assert torch.equal(model.running_mean, moved)  # type: ignore[arg-type]
    model(torch.full((2, 2, 4, 4), torch.inf))
    kept.repair(model)
    assert torch.equal(model.running_mean, torch.zeros(2))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", ["model", "average", "optimizer"])
def test_a_state_that_is_not_finite_is_refused_by_name(place: str, value: float) -> None:
    state = _state()
    _train(state, 0, 2)
    state.require_finite()
    name = next(
        name for name, tensor in state.tensors().items() if name.startswith(place) and tensor.dim() == 4
    )
    state.tensors()[name][0, 1, 0, 2] = value
    with pytest.raises(DivergedError, match=re.escape(name)) as caught:
        state.require_finite()
    assert caught.value.exit_code == 4


def test_mean_losses_leave_broken_batches_out() -> None:
    sums = EpochSums([1.0, 2.0, 3.0], batches=3, broken_batches=1)
    assert sums.mean_losses() == {"box": 0.5, "obj": 1.0, "cls": 1.5}
    nothing = EpochSums(batches=2, broken_batches=2).mean_losses()
    assert all(math.isnan(value) for value in nothing.values())
