"""Training meets numbers that are none, and workers that die: found, named, counted, and never written."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.flow.conftest import command, draw_rectangles
from tests.flow.small_runs import MODEL
from vedette.checkpoint import tensors as stored_tensors
from vedette.checkpoint.deployable import load_detector
from vedette.checkpoint.state_folder import StateFolder
from vedette.cli.app import main
from vedette.errors import EXIT_DIVERGED, EXIT_REFUSED
from vedette.model.detector import Detector
from vedette.track.files import read_results
from vedette.train import epoch
from vedette.train.state import KeptBuffers, TrainState

BATCHES = 4  # of an epoch: 8 pictures, 2 in each


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of 8 training and 2 validation pictures, beside a model."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "small.yaml").write_text(MODEL, encoding="utf-8")
    return draw_rectangles(folder, train=8, val=2, size=32)


def _train(data: Path, folder: Path, **changes: object) -> int:
    """Train in this process; returns the exit code."""
    settings = {
        "data": data, "cfg": data.parent / "small.yaml", "img": 32, "batch": 2, "nominal_batch": 2, "epochs": 2,
        "device": "cpu", "precision": "float32", "noplots": "", "workers": 0, "threads": 1,
        "project": folder.parent, "name": folder.name, **changes,
    }  # fmt: skip
    flags = [(f"--{name.replace('_', '-')}", str(value)) for name, value in settings.items()]
    return main(["train", *(part for flag in flags for part in flag if part)])


@pytest.fixture
def break_batches(monkeypatch: pytest.MonkeyPatch) -> Callable[[Container[int]], None]:
    """Make the pictures of some training batches, by number from 0, not-a-number."""

    def install(numbers: Container[int]) -> None:
        original, seen = Detector.forward, [0]

        def forward(self: Detector, images: torch.Tensor, *rest: Any, **named: Any) -> Any:
            if self.training:
                images = images * (math.nan if seen[0] in numbers else 1.0)
                seen[0] += 1
            return original(self, images, *rest, **named)

        monkeypatch.setattr(Detector, "forward", forward)

    return install


def _non_finite(folder: Path) -> list[str]:
    """Names of all tensors in the run's states and checkpoints that hold infinity or not-a-number."""
    found = dict[str, torch.Tensor]()
    saved = StateFolder(folder / "state").load_latest()
    assert saved is not None
    found |= saved.tensors
    for name in ("last", "best"):
        weights = load_detector(folder / "weights" / f"{name}.safetensors").detector.state_dict()
        found |= {f"{name}/{key}": tensor for key, tensor in weights.items()}
    kinds = {name.split("/")[0] for name in found}
    assert {"model", "average", "optimizer", "last", "best"} <= kinds
    assert any("running_var" in name for name in found)
    return [name for name, tensor in found.items() if not tensor.isfinite().all()]


def _warnings(folder: Path) -> list[str]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]
    return [event["text"] for event in events if event["event"] == "Note" and event["level"] == "warning"]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_broken_batches_are_left_out_counted_and_named(
    data: Path, tmp_path: Path, break_batches: Callable[[Container[int]], None], precision: str
) -> None:
    break_batches({1, BATCHES + 3})
    folder = tmp_path / "exp"
    assert _train(data, folder, precision=precision, save_seconds=0.0001) == 0
    assert _non_finite(folder) == []
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["skipped_steps"], summary["optimizer_steps"]) == (2, 2 * BATCHES - 2)
    rows = read_results(folder / "results.csv")
    assert [row["skipped_steps"] for row in rows] == [1, 2]
    for row in rows:
        assert all(value is None or math.isfinite(value) for value in row.values())
        assert row["train/box_loss"] > 0  # the mean of the three sound batches
    left_out = [text for text in _warnings(folder) if "its gradients are not finite" in text]
    assert len(left_out) == 2
    assert all(len(re.findall(r"[^ ,]+\.png", text)) == 2 for text in left_out), "both pictures of the batch"


def test_an_epoch_without_a_sound_batch_has_no_mean_loss(
    data: Path, tmp_path: Path, break_batches: Callable[[Container[int]], None]
) -> None:
    break_batches(range(BATCHES))
    assert _train(data, tmp_path / "exp") == 0
    first, second = read_results(tmp_path / "exp" / "results.csv")
    assert first["train/box_loss"] is None
    assert second["train/box_loss"] is not None


def test_too_many_in_a_row_end_the_run_with_what_was_sound(
    data: Path,
    tmp_path: Path,
    break_batches: Callable[[Container[int]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    break_batches(range(BATCHES, 1000))
    folder = tmp_path / "exp"
    assert _train(data, folder, epochs=4, save_seconds=0.0001) == EXIT_DIVERGED
    error = capsys.readouterr().err
    assert f"gradients were not finite {epoch.MAX_SKIPPED_IN_A_ROW} times in a row" in error
    assert len(re.findall(r"[^ ,]+\.png", error)) == 2
    assert "Traceback" not in error
    assert _non_finite(folder) == []
    saved = StateFolder(folder / "state").load_latest()
    assert saved is not None
    assert saved.metadata["progress"]["skipped_in_a_row"] == epoch.MAX_SKIPPED_IN_A_ROW - 1
    assert len(read_results(folder / "results.csv")) == 2


def test_without_the_check_of_gradients_the_run_ends_and_nothing_is_written(
    data: Path,
    tmp_path: Path,
    break_batches: Callable[[Container[int]], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second line of defence, before anything is saved or measured."""
    break_batches({BATCHES + 1})
    monkeypatch.setattr(epoch, "gradient_norm", lambda _: 0.0)
    assert _train(data, tmp_path / "exp") == EXIT_DIVERGED
    assert "no longer finite" in capsys.readouterr().err
    assert _non_finite(tmp_path / "exp") == []


def test_without_any_check_the_files_are_broken(
    data: Path,
    tmp_path: Path,
    break_batches: Callable[[Container[int]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Negative control: the tests above can fail."""
    break_batches({BATCHES + 1})
    monkeypatch.setattr(epoch, "gradient_norm", lambda _: 0.0)
    monkeypatch.setattr(TrainState, "require_finite", lambda _: None)
    storable = stored_tensors._storable
    monkeypatch.setattr(
        stored_tensors, "_storable", lambda path, name, tensor, _: storable(path, name, tensor, True)
    )
    # Measuring refuses such a network, but by then its state is on the disk.
    assert _train(data, tmp_path / "exp", save_seconds=0.0001) == EXIT_REFUSED
    broken = _non_finite(tmp_path / "exp")
    for kind in ("model/", "average/", "optimizer/"):
        assert any(name.startswith(kind) for name in broken)


@pytest.mark.parametrize("repaired", [True, False])
def test_batches_that_the_published_schedule_discards_leave_nothing_behind(
    data: Path,
    tmp_path: Path,
    break_batches: Callable[[Container[int]], None],
    monkeypatch: pytest.MonkeyPatch,
    repaired: bool,
) -> None:
    """It steps at the first of four batches and drops the gradients of the others, but not their statistics."""
    break_batches({2})
    if not repaired:  # negative control
        monkeypatch.setattr(KeptBuffers, "repair", lambda *_: None)
    code = _train(data, tmp_path / "exp", published_schedule="", nominal_batch=8, warmup_epochs=0)
    assert code == (0 if repaired else EXIT_DIVERGED)
    if repaired:
        assert _non_finite(tmp_path / "exp") == []
        summary = json.loads((tmp_path / "exp" / "summary.json").read_text(encoding="utf-8"))
        assert summary["skipped_steps"] == 0


@pytest.mark.parametrize("row", ["0 nan 0.5 0.2 0.2", "0 0.5 0.5 inf 0.2"])
def test_labels_that_are_no_numbers_are_found_before_training(
    tmp_path: Path, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    description = draw_rectangles(tmp_path / "data", train=8, val=2, size=32)
    (tmp_path / "data" / "small.yaml").write_text(MODEL, encoding="utf-8")
    label = tmp_path / "data" / "labels" / "train" / "001.txt"
    label.write_text(f"0 0.5 0.5 0.2 0.2\n{row}\n", encoding="utf-8")
    assert _train(description, tmp_path / "exp", on_bad_label="error") == EXIT_REFUSED
    error = capsys.readouterr().err
    assert f"{label}:2: " in error
    assert "nan" in error or "infinite" in error


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the worker by /proc")
def test_a_killed_worker_ends_the_run_and_names_its_picture(data: Path, tmp_path: Path) -> None:
    """SIGKILL as the system sends it when memory runs out."""
    arguments = [
        "train", "--data", data, "--cfg", data.parent / "small.yaml", "--img", 32, "--batch", 2, "--epochs", 10_000,
        "--device", "cpu", "--precision", "float32", "--noval", "--noplots", "--workers", 1,
        "--project", tmp_path,
    ]  # fmt: skip
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    try:
        _wait_for_an_epoch(process, tmp_path / "exp" / "results.csv")
        (worker,) = _grandchildren(process.pid)
        os.kill(worker, signal.SIGKILL)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == EXIT_REFUSED, error
    (line,) = error.strip().splitlines()
    assert "a data worker died (signal SIGKILL)" in line
    named = re.findall(r"\S+\.png", line)
    assert len(named) == 1
    assert Path(named[0]).is_file()
    saved = StateFolder(tmp_path / "exp" / "state").load_latest()
    assert saved is not None
    assert not saved.skipped


def _wait_for_an_epoch(process: subprocess.Popen[str], results: Path) -> None:
    while process.poll() is None and not results.exists():
        time.sleep(0.02)
    assert process.returncode is None, process.communicate()


def _grandchildren(ancestor: int) -> list[int]:
    """Processes started by the fork server of a training: its workers."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        if fields[0] != "Z":
            parents[int(path.parent.name)] = int(fields[1])
    return [number for number, parent in parents.items() if parents.get(parent) == ancestor]
