"""The main path of a search: take a trial that was left behind or ask for a new one, train, tell, until enough.

Any number of processes run this at once on one study. Each trial has a folder that its process holds locked. A
process that dies leaves its trial running in the study and its folder unlocked; whoever finds that goes on with the
run from its saved state, so a kill costs seconds.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.config.tune import TuneConfig
from vedette.errors import DivergedError, UsageError
from vedette.track.events import EpochDone, Event
from vedette.train.folder.origin import REACHING, is_on_another_computer
from vedette.train.folder.run_lock import run_lock
from vedette.train.run import train
from vedette.tune.results import read_result, write_results
from vedette.tune.space import Range, searched_ranges, starting_values, with_values
from vedette.tune.study import (
    build_sampler,
    finished_trials,
    import_optuna,
    open_study,
    running_trials,
    seconds_since_sign,
    sign_of_life,
    suggest,
    take_over,
    trial_seed,
)

if TYPE_CHECKING:
    import optuna

Report = Callable[[str], None]

_OWNED_FLAGS = ("project", "name", "exist_ok", "resume", "evolve", "nosave")
"""Settings of a training run that the search sets itself."""

_POLL_SECONDS = 1.0
_GRACE_SECONDS = 60.0  # between asking for a trial and locking its folder


@dataclass(frozen=True)
class TuneResult:
    """What a search left behind.

    Attributes:
        folder: of the study.
        finished: trials that ended with a value.
        best_trial: number of the best one.
        best_fitness: its fitness, 0.1 AP50 + 0.9 AP of its best epoch.
        hyperparameters: YAML file of its hyperparameters, for ``--hyp``.
    """

    folder: Path
    finished: int
    best_trial: int
    best_fitness: float
    hyperparameters: Path


@dataclass(frozen=True)
class _Search:
    """What all trials have in common."""

    config: TuneConfig
    train_config: TrainConfig
    base: Hyperparameters
    ranges: Mapping[str, Range]
    study: optuna.Study
    worker: int
    report: Report

    def trial_folder(self, number: int) -> Path:
        return Path(self.config.study) / "trials" / f"trial-{number:04d}"


def tune(
    config: TuneConfig,
    train_config: TrainConfig,
    base: Hyperparameters,
    *,
    report: Report = lambda text: None,
) -> TuneResult:
    """Work on a study until it has ``config.trials`` finished trials.

    Args:
        config: the search; several processes may run with the same one at once.
        train_config: of every training run.
        base: the first trial's hyperparameters, and what is not searched of all others.
        report: told what happens, in one line of text each time.

    Raises:
        UsageError: settings that make no sense, or that are not those the study was begun with.
        MissingExtraError: Optuna is not installed.
        InterruptedRunError: SIGINT or SIGTERM; the same command goes on.
        VedetteError: a training run failed for a reason that would stop every other one as well.
    """
    _refuse_owned(train_config)
    ranges = searched_ranges(config.search)
    base = base.for_optimizer(train_config.optimizer)
    study = open_study(config, train_config.epochs)
    _settle(study, ranges, train_config, base)
    search = _Search(config, train_config, base, ranges, study, _claim_worker(Path(config.study)), report)
    for trial, folder in _trials(search):
        _work_on(search, trial, folder)
        write_results(study, ranges, base, Path(config.study))
    paths = write_results(study, ranges, base, Path(config.study), plots=True)
    best = study.best_trial
    return TuneResult(
        Path(config.study), len(finished_trials(study)), best.number, float(best.value or 0.0), paths
    )


def _refuse_owned(train_config: TrainConfig) -> None:
    for name in _OWNED_FLAGS:
        if name in train_config.model_fields_set and getattr(train_config, name):
            raise UsageError(
                f"a search places its runs itself, so --{name.replace('_', '-')} cannot be given",
                where="vedette tune",
                fix="leave it out; --study names the folder",
            )


def _settle(
    study: optuna.Study, ranges: Mapping[str, Range], train_config: TrainConfig, base: Hyperparameters
) -> None:
    """Write down what the study is about, or check that it is about the same; queue the first trial."""
    about: dict[str, Any] = {
        "search": sorted(ranges),
        "train": train_config.model_dump(
            mode="json", exclude={"device", "workers", "threads", "cache", "save_seconds", "rank_timeout"}
        ),
        "hyperparameters": base.model_dump(mode="json"),
    }
    known = study.user_attrs.get("about")
    if known is None:
        study.set_user_attr("about", about)
        study.enqueue_trial(starting_values(ranges, base), skip_if_exists=True)
        return
    for part, now in about.items():
        if json.loads(json.dumps(now)) != known.get(part):
            raise UsageError(
                f"the study was begun with other settings ({part}: {_difference(known.get(part), now)})",
                where=study.study_name,
                fix="give the same flags, or name another --study",
            )


def _difference(known: Any, now: Any) -> str:
    if isinstance(known, dict) and isinstance(now, dict):
        return ", ".join(
            f"{key} {known.get(key)!r} -> {now.get(key)!r}"
            for key in sorted({*known, *now})
            if known.get(key) != now.get(key)
        )[:200]
    return f"{known} -> {now}"[:200]


def _claim_worker(folder: Path) -> int:
    """A number that no other process of this study has had: their samplers must not draw the same values."""
    places = folder / "workers"
    places.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        with contextlib.suppress(FileExistsError):
            (places / str(number)).touch(exist_ok=False)
            return number
        number += 1


def _trials(search: _Search) -> Iterator[tuple[optuna.Trial, Path]]:
    """Trials to work on, each with its folder locked while the caller works on it, until there are enough."""
    waiting = False
    while True:
        left = _left_behind(search)
        if left is not None:
            trial, folder, lock = left
        else:
            finished, running = len(finished_trials(search.study)), len(running_trials(search.study))
            if finished >= search.config.trials:
                return
            if finished + running >= search.config.trials:
                if not waiting:
                    search.report("waiting for runs of other processes")
                waiting = True
                time.sleep(_POLL_SECONDS)
                continue
            asked = _ask(search)
            if asked is None:
                continue
            trial, folder, lock = asked
        waiting = False
        with lock:
            yield trial, folder


def _locked(folder: Path) -> ExitStack | None:
    """The folder's lock, to be closed after use, or None if another process holds it."""
    stack = ExitStack()
    try:
        stack.enter_context(run_lock(folder))
    except UsageError:
        return None
    return stack


def _left_behind(search: _Search) -> tuple[optuna.Trial, Path, ExitStack] | None:
    """A running trial that nobody works on any more, or None; one without a folder here is given up and repeated."""
    for trial in running_trials(search.study):
        folder = search.trial_folder(trial.number)
        if folder.is_dir():
            lock = _locked(folder)
            if lock is None:
                continue
            if any(other.number == trial.number for other in running_trials(search.study)):
                search.report(f"trial {trial.number} was left behind: going on with it")
                return take_over(search.study, trial), folder, lock
            lock.close()
        elif seconds_since_sign(trial) > _patience(search, trial):
            _repeat(search, trial)
    return None


def _patience(search: _Search, trial: Any) -> float:
    here = trial.user_attrs.get("host") == socket.gethostname()
    return _GRACE_SECONDS if here else 60 * search.config.stale_minutes


def _repeat(search: _Search, trial: Any) -> None:
    failed = import_optuna().trial.TrialState.FAIL
    with contextlib.suppress(RuntimeError, ValueError):  # another process was faster
        search.study.tell(trial.number, state=failed)
        search.study.enqueue_trial(trial.params)
        search.report(f"trial {trial.number} gave no sign of life: its values are tried again")


def _ask(search: _Search) -> tuple[optuna.Trial, Path, ExitStack] | None:
    """A new trial with its folder, locked; None if other processes took the last places at the same moment."""
    study = search.study
    count = len(study.get_trials(deepcopy=False))
    study.sampler = build_sampler(search.config, trial_seed(search.train_config.seed, search.worker, count))
    trial = study.ask()
    sign_of_life(trial)
    folder = search.trial_folder(trial.number)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder)
    if lock is None:  # taken for left behind in this very moment
        return None
    earlier = [
        other for other in [*finished_trials(study), *running_trials(study)] if other.number < trial.number
    ]
    if len(earlier) >= search.config.trials:
        study.tell(trial, state=import_optuna().trial.TrialState.FAIL)
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return trial, folder, lock


def _work_on(search: _Search, trial: optuna.Trial, folder: Path) -> None:
    """Train the trial's hyperparameters, or go on training them, and tell the study what came of it."""
    states = import_optuna().trial.TrialState
    values = suggest(trial, search.ranges)
    watcher = _Watcher(trial)
    try:
        if not (folder / "run" / "summary.json").exists():
            _train(search, with_values(search.base, values), folder / "run", watcher)
    except DivergedError as error:
        trial.set_user_attr("diverged", str(error))
        search.study.tell(trial, 0.0)
        search.report(f"trial {trial.number}: diverged, fitness 0")
        return
    result = read_result(folder / "run")
    for name, value in result.attributes().items():
        trial.set_user_attr(name, value)
    if watcher.pruned:
        search.study.tell(trial, state=states.PRUNED)
    else:
        search.study.tell(trial, result.fitness)
    best = search.study.best_trial.number == trial.number if not watcher.pruned else False
    _tidy(folder / "run", keep_weights=best)
    ending = (
        f"ended early after {result.epochs} epochs" if watcher.pruned else f"fitness {result.fitness:.4f}"
    )
    search.report(f"trial {trial.number}: {ending}{', the best so far' if best else ''}")


def _train(search: _Search, values: Hyperparameters, folder: Path, watcher: _Watcher) -> None:
    """One run, or the rest of it."""
    config = search.train_config
    names = ["device", "workers", "threads", *REACHING]  # the trial may be of another machine
    names += ["data"] if is_on_another_computer(config.data) else []
    named = {name: getattr(config, name) for name in names if name in config.model_fields_set}
    if any(folder.glob("state/state-*.safetensors")):
        settings = TrainConfig(resume=str(folder), **named)
    else:
        settings = config.model_copy(
            update={"project": str(folder.parent), "name": folder.name, "exist_ok": True, "noplots": True}
        )
    train(settings, values, trackers=[watcher], stop_when=watcher.should_stop)


class _Watcher:
    """Tells the study how a trial is doing, and whether it is worth going on."""

    immediate = True  # the trainer asks for its answer between epochs

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial
        self.pruned = False

    def handle(self, event: Event) -> None:
        """Pass on the fitness of every measured epoch."""
        if not isinstance(event, EpochDone):
            return
        sign_of_life(self._trial)
        ap50, ap = event.row.get("metrics/mAP_0.5"), event.row.get("metrics/mAP_0.5:0.95")
        if ap50 is not None and ap is not None:
            self._trial.report(0.1 * ap50 + 0.9 * ap, int(event.row["epoch"] or 0))

    def close(self) -> None:
        """Nothing is held open."""

    def should_stop(self, event: EpochDone) -> bool:
        """Whether the run is ended after this epoch, because others were better by now."""
        self.pruned = bool(self._trial.should_prune())
        return self.pruned


def _tidy(folder: Path, *, keep_weights: bool) -> None:
    """Remove what only a running trial needs: a long study would fill the disk."""
    shutil.rmtree(folder / "state", ignore_errors=True)
    if not keep_weights:
        shutil.rmtree(folder / "weights", ignore_errors=True)
