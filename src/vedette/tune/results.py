"""What a search leaves behind: the best hyperparameters, a table of all trials, plots."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vedette.checkpoint.atomic import write_atomic
from vedette.config.hyperparameters import Hyperparameters
from vedette.track.files import read_results
from vedette.tune.evolve_files import with_generation
from vedette.tune.space import Range, with_values
from vedette.tune.study import finished_trials

if TYPE_CHECKING:
    import optuna

BEST = "best_hyp.yaml"
_RESULT_COLUMNS = (
    "metrics/precision",
    "metrics/recall",
    "metrics/mAP_0.5",
    "metrics/mAP_0.5:0.95",
    "val/box_loss",
    "val/obj_loss",
    "val/cls_loss",
)


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of one training run.

    Attributes:
        fitness: 0.1 AP50 + 0.9 AP of its best epoch.
        epochs: how many were trained.
        seconds: spent training.
        results: the seven published figures of the best epoch: P, R, AP50, AP, validation losses.
    """

    fitness: float
    epochs: int
    seconds: float
    results: tuple[float, ...]

    def attributes(self) -> dict[str, Any]:
        """What the study keeps about the trial."""
        return {"epochs": self.epochs, "seconds": round(self.seconds, 1), "results": list(self.results)}


def read_result(folder: Path) -> RunResult:
    """The result of a finished run, from its ``summary.json`` and ``results.csv``."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    rows = read_results(folder / "results.csv")
    best_epoch = summary["best"]["epoch"] - 1
    row = next((row for row in rows if row.get("epoch") == best_epoch), rows[-1])
    return RunResult(
        fitness=float(summary["best"]["fitness"]),
        epochs=int(summary["epochs"]),
        seconds=float(summary["seconds"]),
        results=tuple(float(row.get(name) or 0.0) for name in _RESULT_COLUMNS),
    )


def write_results(
    study: optuna.Study,
    ranges: Mapping[str, Range],
    base: Hyperparameters,
    folder: Path,
    *,
    plots: bool = False,
) -> Path:
    """Write table, best hyperparameters and ``evolve.txt`` of the trials so far; returns the YAML file's path.

    Args:
        study: at least one trial has ended.
        ranges: what is searched.
        base: the values that are not.
        folder: of the study.
        plots: also draw value against fitness, which takes seconds.
    """
    trials = finished_trials(study)
    write_atomic(folder / "trials.csv", _table(trials, ranges).encode())
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if complete:
        best = max(complete, key=lambda trial: (trial.value, -trial.number))
        write_atomic(folder / BEST, _best_text(study.study_name, best, ranges, base, len(trials)).encode())
        evolve, evolved = "", ""
        for trial in complete:
            values = with_values(base, _values(trial, ranges)).model_dump()
            numbers = {name: float(value) for name, value in values.items() if _is_number(value)}
            evolve, evolved = with_generation(evolve, trial.user_attrs.get("results", [0.0] * 7), numbers)
        write_atomic(folder / "evolve.txt", evolve.encode())
        write_atomic(folder / "hyp_evolved.yaml", evolved.encode())
        if plots:
            from vedette.tune.plots import draw_search

            draw_search(folder, trials, ranges)
    return folder / BEST


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(trial: Any, ranges: Mapping[str, Range]) -> dict[str, float]:
    return {name: float(trial.params[name]) for name in ranges if name in trial.params}


def _best_text(study: str, best: Any, ranges: Mapping[str, Range], base: Hyperparameters, count: int) -> str:
    values = with_values(base, _values(best, ranges)).model_dump(mode="json")
    comment = (
        f"# Best of {count} trials of the search '{study}': trial {best.number}, fitness {best.value:.5f}\n"
    )
    return comment + yaml.safe_dump(values, sort_keys=False)


def _table(trials: list[Any], ranges: Mapping[str, Range]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["trial", "state", "fitness", "AP50", "AP", "epochs", "seconds", *ranges])
    for trial in trials:
        attributes = trial.user_attrs
        results = attributes.get("results") or [""] * 7
        writer.writerow(
            [
                trial.number,
                "diverged" if "diverged" in attributes else trial.state.name.lower(),
                "" if trial.value is None else f"{trial.value:.6g}",
                *results[2:4],
                attributes.get("epochs", ""),
                attributes.get("seconds", ""),
                *(f"{trial.params[name]:.5g}" if name in trial.params else "" for name in ranges),
            ]
        )
    return buffer.getvalue()
