"""How runs end: made longer, stopped early, fitted to a time budget, and each of them killed and resumed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.flow.conftest import draw_rectangles
from vedette.checkpoint.state_folder import StateFolder
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import CheckpointError, InterruptedRunError, UsageError
from vedette.track.events import EpochDone, Event, LengthChanged
from vedette.track.files import read_results
from vedette.train.run import train

RECIPE = Hyperparameters(lr0=0.01, lrf=0.1, mosaic_off_fraction=0.4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_rectangles(tmp_path_factory.mktemp("set"), train=12, val=4, size=64)


class _Watcher:
    """Keeps events, and sends SIGINT when so many epochs are done."""

    immediate = True

    def __init__(self, interrupt_after: int = 0) -> None:
        self.events: list[Event] = []
        self._interrupt_after = interrupt_after

    def handle(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, EpochDone) and len(event.history) == self._interrupt_after:
            os.kill(os.getpid(), signal.SIGINT)

    def close(self) -> None: ...


def _new(data: Path, project: Path, watcher: _Watcher | None = None, **settings: Any) -> dict[str, Any]:
    config = TrainConfig(
        data=str(data), cfg="tiny", image_size=(64, 64), batch_size=4, device="cpu", precision="float32",
        threads=1, workers=0, noplots=True, project=str(project), **settings,
    )  # fmt: skip
    return train(config, RECIPE, trackers=[watcher] if watcher else []).summary


def _again(project: Path, watcher: _Watcher | None = None, **settings: Any) -> dict[str, Any]:
    config = TrainConfig(resume=str(project / "exp"), **settings)
    return train(config, RECIPE, trackers=[watcher] if watcher else []).summary


def _tensors(project: Path) -> dict[str, torch.Tensor]:
    saved = StateFolder(project / "exp" / "state").load_latest()
    assert saved is not None
    return saved.tensors


def _assert_same_bits(project: Path, reference: Path) -> None:
    found, expected = _tensors(project), _tensors(reference)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to this process alone")
def test_an_extended_run_is_the_same_however_often_it_is_interrupted(data: Path, tmp_path: Path) -> None:
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert _new(data, straight, epochs=2)["ended"] == "all 2 epochs done"
    shutil.copytree(straight, broken)
    _again(straight, epochs=4)
    with pytest.raises(InterruptedRunError):
        _again(broken, _Watcher(interrupt_after=3), epochs=4)
    summary = _again(broken)
    assert summary["epochs"] == 4
    assert summary["ended"] == "all 4 epochs done"
    _assert_same_bits(broken, straight)
    rates = [row["x/lr1"] or 0.0 for row in read_results(straight / "exp" / "results.csv")]
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[1:]))
    assert rates[-1] == pytest.approx(0.001)
    with pytest.raises(UsageError, match="epoch 4 is already done or begun"):
        _again(broken, epochs=3)


@pytest.mark.skipif(os.name == "nt", reason="Windows cannot send SIGINT to this process alone")
def test_an_interrupted_run_is_made_shorter_and_ends_annealed(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        _new(data, tmp_path, _Watcher(interrupt_after=2), epochs=40, optimizer="AdamW")
    watcher = _Watcher()
    assert _again(tmp_path, watcher, epochs=4)["epochs"] == 4
    rows = read_results(tmp_path / "exp" / "results.csv")
    assert (rows[-1]["x/lr1"] or 1.0) < 0.3 * (rows[1]["x/lr1"] or 0.0) + 0.0015
    assert (tmp_path / "exp" / "results.txt").read_text(encoding="ascii").split()[0] == "0/3"


def test_patience_ends_a_run_that_a_new_length_takes_up_again(data: Path, tmp_path: Path) -> None:
    watcher = _Watcher()
    # Without a step that learns, the first epoch stays the best.
    summary = _new(data, tmp_path, watcher, epochs=30, patience=2, schedule="linear")
    done = summary["epochs"]
    assert done < 30
    assert done == summary["best"]["epoch"] + 2
    assert summary["ended"].startswith("patience: no better model in 2 epochs, the best was that of epoch")
    changes = [event for event in watcher.events if isinstance(event, LengthChanged)]
    assert [change.epochs for change in changes] == [done]
    with pytest.raises(CheckpointError, match=r"is finished, nothing to resume \(patience"):
        _again(tmp_path)
    assert _again(tmp_path, epochs=done + 1)["epochs"] == done + 1


def test_a_time_budget_ends_a_run_that_a_larger_one_takes_up_again(data: Path, tmp_path: Path) -> None:
    summary = _new(data, tmp_path, epochs=1000, time_budget=1e-6)
    assert summary["epochs"] == 1
    assert summary["ended"] == "time budget of 1e-06 h: 1 of 1000 epochs fit into it"
    state = json.loads((tmp_path / "exp" / "summary.json").read_text(encoding="utf-8"))
    assert state["ap"] is not None
    again = _again(tmp_path, time_budget=0.0, epochs=2)
    assert again["ended"] == "all 2 epochs done"
