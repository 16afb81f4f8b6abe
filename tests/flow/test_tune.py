"""Two processes share a study; one of them is killed and started again."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.flow.conftest import command, draw_rectangles, vedette
from vedette.config.hyperparameters import load_hyperparameters
from vedette.config.tune import TuneConfig
from vedette.tune.study import finished_trials, open_study, running_trials

pytest.importorskip("optuna", reason="the extra 'tune' is not installed")

TRIALS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_rectangles(tmp_path_factory.mktemp("tune"), train=8, val=4, size=64)


def _arguments(data: Path, study: Path, *more: object) -> list[object]:
    fixed = ["--cfg", "tiny", "--img", 64, "--epochs", 2, "--batch", 4, "--workers", 0, "--threads", 1]
    return ["tune", "--data", data, "--study", study, "--trials", TRIALS, *fixed, *more]


def _rows(study: Path) -> list[dict[str, str]]:
    with (study / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_two_processes_one_of_them_killed(data: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    arguments = command(*_arguments(data, study, "--sampler", "tpe", "--pruner", "none"))
    first, second = (
        subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    )
    for _ in range(600):
        if first.poll() is not None or (study / "trials.csv").exists():
            break
        time.sleep(0.1)
    os.kill(second.pid, signal.SIGKILL)
    second.communicate()
    again = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    outputs = [process.communicate(timeout=240)[0] for process in (first, again)]
    assert (first.returncode, again.returncode) == (0, 0), outputs
    handle = open_study(TuneConfig(study=str(study)), epochs=2)
    assert len(finished_trials(handle)) == TRIALS, outputs
    assert running_trials(handle) == [], outputs
    rows = _rows(study)
    assert len(rows) == TRIALS
    assert len({row["lr0"] for row in rows}) == TRIALS, "two processes drew the same values"
    for name in ("best_hyp.yaml", "evolve.txt", "hyp_evolved.yaml", "history.png", "evolve.png"):
        assert (study / name).stat().st_size > 0, name
    best = load_hyperparameters(str(study / "best_hyp.yaml"))
    assert best.lr0 == pytest.approx(float(max(rows, key=lambda row: float(row["fitness"]))["lr0"]), rel=1e-4)
    run = vedette(
        *("train", "--data", data, "--cfg", "tiny", "--img", 64, "--epochs", 1, "--batch", 4),
        *("--hyp", study / "best_hyp.yaml", "--project", tmp_path / "runs"),
    )
    assert run.returncode == 0, run.stderr


def test_a_killed_search_goes_on_with_its_run(data: Path, tmp_path: Path) -> None:
    """SIGTERM inside the first trial; the second command finishes it instead of starting it again."""
    study = tmp_path / "study"
    arguments = _arguments(data, study, "--search", "lr0", "box", "--sampler", "genetic")
    arguments[arguments.index("--trials") + 1] = 2
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    results = study / "trials" / "trial-0000" / "run" / "results.csv"
    for _ in range(600):
        if results.exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    interrupted = process.returncode == 143
    again = vedette(*arguments)
    assert again.returncode == 0, again.stderr
    assert interrupted == ("trial 0 was left behind" in again.stdout), output
    assert [row["trial"] for row in _rows(study)] == ["0", "1"]


def test_other_settings_are_refused(data: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    arguments = _arguments(data, study, "--search", "lr0")
    arguments[arguments.index("--trials") + 1] = 1
    first = vedette(*arguments)
    assert first.returncode == 0, first.stderr
    arguments[arguments.index("--epochs") + 1] = 3
    other = vedette(*arguments)
    assert other.returncode == 2
    assert "epochs 2 -> 3" in other.stderr
    wrong = vedette(*_arguments(data, study, "--name", "mine"))
    assert wrong.returncode == 2
    assert "--name" in wrong.stderr
