"""Table and best hyperparameters of a study that holds finished, pruned, diverged and failed trials."""

import csv
from pathlib import Path

import pytest

from vedette.config.hyperparameters import Hyperparameters, load_hyperparameters
from vedette.config.tune import TuneConfig
from vedette.tune.results import write_results
from vedette.tune.space import searched_ranges
from vedette.tune.study import open_study

optuna = pytest.importorskip("optuna", reason="the extra 'tune' is not installed")

RANGES = searched_ranges(["lr0", "box"])


def _add(study: "optuna.Study", lr0: float, value: float | None, state: str, **attributes: object) -> None:
    distributions = {
        name: optuna.distributions.FloatDistribution(limits.low, limits.high, log=limits.logarithmic)
        for name, limits in RANGES.items()
    }
    study.add_trial(
        optuna.trial.create_trial(
            state=optuna.trial.TrialState[state],
            params={"lr0": lr0, "box": 0.05},
            distributions=distributions,
            value=value,
            user_attrs=attributes,
        )
    )


def test_results_of_a_study(tmp_path: Path) -> None:
    study = open_study(TuneConfig(study=str(tmp_path / "s")), epochs=10)
    _add(study, 0.01, 0.30, "COMPLETE", results=[0.5, 0.6, 0.4, 0.29, 0.1, 0.2, 0.3], epochs=10, seconds=4.0)
    _add(study, 0.012345678, 0.40, "COMPLETE", results=[0.5, 0.6, 0.5, 0.39, 0.1, 0.2, 0.3])
    _add(study, 0.09, 0.0, "COMPLETE", diverged="gradients were not finite")
    _add(study, 0.02, 0.10, "PRUNED", epochs=3)
    _add(study, 0.03, None, "FAIL")
    path = write_results(study, RANGES, Hyperparameters(hsv_h=0.02), tmp_path / "s", plots=True)
    best = load_hyperparameters(str(path))
    assert (best.lr0, best.box, best.hsv_h) == (0.012346, 0.05, 0.02)
    assert path.read_text(encoding="utf-8").startswith("# Best of 4 trials of the search 's': trial 1, ")
    with (tmp_path / "s" / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["state"] for row in rows] == ["complete", "complete", "diverged", "pruned"]
    assert [row["AP"] for row in rows] == ["0.29", "0.39", "", ""]
    lines = (tmp_path / "s" / "evolve.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert lines[0].split()[3] == "0.39"
    assert (tmp_path / "s" / "history.png").exists()


def test_only_pruned_trials_write_no_best(tmp_path: Path) -> None:
    study = open_study(TuneConfig(study=str(tmp_path / "s")), epochs=10)
    _add(study, 0.02, 0.10, "PRUNED", epochs=3)
    assert not write_results(study, RANGES, Hyperparameters(), tmp_path / "s", plots=True).exists()
