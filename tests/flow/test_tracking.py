"""Trackers around a real run: they see everything of it, and can neither stop nor change it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.flow.conftest import vedette
from tests.track import wandb_file

_TROUBLE = """
import json, sys, threading
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.track import background
from vedette.track.console import ConsoleTracker
from vedette.train.run import train

class Raising:
    def handle(self, event):
        raise RuntimeError("no network")
    def close(self):
        pass

class Sleeping:
    def handle(self, event):
        threading.Event().wait()  # for ever
    def close(self):
        pass

if __name__ == "__main__":
    background.CLOSE_SECONDS = 0.5
    config = TrainConfig.parse(json.loads(sys.argv[1]))
    train(config, Hyperparameters(), trackers=[ConsoleTracker(), Raising(), Sleeping()])
"""


def _arguments(data: Path, project: Path) -> list[object]:
    return [
        "train", "--data", data, "--cfg", "tiny", "--img", "96", "--batch", "8", "--epochs", "1",
        "--project", project, "--device", "cpu", "--precision", "float32", "--workers", "0", "--noplots",
    ]  # fmt: skip


def _summary(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def untracked(rectangles: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the weights of a run that nobody watched."""
    project = tmp_path_factory.mktemp("untracked")
    result = vedette(*_arguments(rectangles, project))
    assert result.returncode == 0, result.stderr
    assert not (project / "exp" / "tracking").exists()
    return str(_summary(project / "exp")["weights_sha256"])


def test_one_that_raises_and_one_that_sleeps_change_nothing(
    rectangles: Path, untracked: str, tmp_path: Path
) -> None:
    script = tmp_path / "watched.py"
    script.write_text(_TROUBLE, encoding="utf-8")
    config = {
        "data": str(rectangles), "cfg": "tiny", "image_size": 96, "batch_size": 8, "epochs": 1, "threads": 2,
        "project": str(tmp_path), "device": "cpu", "precision": "float32", "workers": 0, "noplots": True,
    }  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script), json.dumps(config)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert _summary(tmp_path / "exp")["weights_sha256"] == untracked
    assert "warning: Raising failed and was switched off (RuntimeError: no network)" in result.stdout
    assert "warning: Sleeping was not done in time and was left behind (not delivered:" in result.stdout


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("wandb", "tensorboard")),
    reason="needs the extra 'trackers'",
)
def test_a_tracked_run_and_its_longer_second_part(rectangles: Path, untracked: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    tracked = [*_arguments(rectangles, tmp_path), "--track", "wandb", "tensorboard", "--log-artifacts"]
    result = vedette(*tracked, cwd=here, NETRC=os.devnull)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "to send it: wandb sync" in result.stdout
    assert "switched off" not in result.stdout
    folder = tmp_path / "exp"
    assert _summary(folder)["weights_sha256"] == untracked
    assert list(here.iterdir()) == [], "nothing is written where the command was given"
    result = vedette("train", "--resume", folder, "--epochs", "2", cwd=here)
    assert result.returncode == 0, result.stdout + result.stderr

    first, second = (
        wandb_file.records(part) for part in sorted((folder / "tracking" / "wandb").glob("offline-run-*"))
    )
    identities = {wandb_file.of_kind(part, "run")[0].run_id for part in (first, second)}
    stored = json.loads((folder / "tracking" / "wandb.json").read_text(encoding="utf-8"))
    assert identities == {stored["id"]}
    rows = [[row for row in wandb_file.history(part) if "x/lr0" in row] for part in (first, second)]
    assert [[row["epoch"] for row in part] for part in rows] == [[0], [1]]
    assert len(rows[0][0].keys() & {"train/box_loss", "metrics/mAP_0.5:0.95", "x/lr2"}) == 3
    assert any("Images/all_boxes" in row for row in wandb_file.history(first))
    (model,) = wandb_file.of_kind(first, "artifact")
    assert {"latest", "best", "epoch-1", "final"} == set(model.aliases)
    size = (folder / "weights" / "best.safetensors").stat().st_size
    assert abs(model.manifest.contents[0].size - size) < 10_000

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    assert [point.step for point in read.Scalars("metrics/mAP_0.5:0.95")] == [0, 1]


def test_a_missing_package_is_said_before_the_run_begins(rectangles: Path, tmp_path: Path) -> None:
    start = (
        "import importlib.util as util, sys; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'mlflow' else find(name, *rest)\n"
        "from vedette.cli.app import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(part) for part in [*_arguments(rectangles, tmp_path), "--track", "mlflow"]]
    result = subprocess.run(
        [sys.executable, "-c", start, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 2, result.stdout + result.stderr
    assert "pip install 'vedette[mlflow]'" in result.stderr
    assert not (tmp_path / "exp").exists()
