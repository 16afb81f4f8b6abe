"""The shared record of a search: storage, sampler, pruner (Optuna), and runs that were left behind.

Optuna is imported here and nowhere else.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vedette.config.tune import TuneConfig
from vedette.core.random import generator
from vedette.errors import MissingExtraError, UsageError, WriteError
from vedette.tune.space import Range

if TYPE_CHECKING:
    import optuna

JOURNAL = "study.journal"
FINISHED = ("COMPLETE", "PRUNED")
_LEAST_POPULATION, _GREATEST_POPULATION = 6, 50


def import_optuna() -> Any:
    """The package. Raises MissingExtraError."""
    try:
        import optuna
    except ImportError:
        raise MissingExtraError("optuna", "tune", "searching hyperparameters") from None
    return optuna


def open_study(config: TuneConfig, epochs: int) -> optuna.Study:
    """Open or create the study.

    Args:
        config: where it is stored and how it prunes.
        epochs: length of a full run.

    Raises:
        MissingExtraError: Optuna is not installed.
        UsageError: the storage cannot be opened.
        WriteError: the folder of the study cannot be written.
    """
    package = import_optuna()
    folder = Path(config.study)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"cannot be written ({error.strerror})", where=folder, fix="give another --study"
        ) from None
    try:
        study: optuna.Study = package.create_study(
            study_name=folder.name,
            storage=config.storage or _journal(package, folder / JOURNAL),
            direction="maximize",
            pruner=_pruner(package, config.pruner, epochs),
            load_if_exists=True,
        )
    except Exception as error:
        # Every database driver has its own errors; none of them says which storage was meant.
        raise UsageError(
            f"the storage cannot be opened ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            where=config.storage or folder / JOURNAL,
            fix="check --storage; for a damaged journal start a new --study",
        ) from error
    return study


def _journal(package: Any, path: Path) -> Any:
    journal = package.storages.journal
    # A lock file that is opened exclusively works on Windows and on network folders too.
    return package.storages.JournalStorage(
        journal.JournalFileBackend(str(path), lock_obj=journal.JournalFileOpenLock(str(path)))
    )


def _pruner(package: Any, name: str, epochs: int) -> Any:
    if name == "median":
        return package.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 5)
    if name == "hyperband":
        return package.pruners.HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=epochs)
    return package.pruners.NopPruner()


def build_sampler(config: TuneConfig, seed: int) -> Any:
    """The sampler for one trial; all it knows of earlier ones is in the study.

    Args:
        config: which sampler; the genetic one's population grows with the number of trials.
        seed: of this trial.
    """
    samplers = import_optuna().samplers
    if config.sampler == "genetic":
        population = min(max(config.trials // 6, _LEAST_POPULATION), _GREATEST_POPULATION)
        return samplers.NSGAIISampler(population_size=population, seed=seed)
    if config.sampler == "cmaes":
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if config.sampler == "tpe":
        return samplers.TPESampler(n_startup_trials=min(10, max(config.trials // 3, 1)), seed=seed)
    return samplers.RandomSampler(seed=seed)


def trial_seed(seed: int, worker: int, trials: int) -> int:
    """Seed of the sampler for the next trial: the same study goes on in the same way after a restart."""
    return int(generator(seed, "tune", worker, trials).integers(2**31))


def suggest(trial: optuna.Trial, ranges: Mapping[str, Range]) -> dict[str, float]:
    """The trial's value of every searched hyperparameter."""
    return {
        name: trial.suggest_float(name, limits.low, limits.high, log=limits.logarithmic)
        for name, limits in ranges.items()
    }


def finished_trials(study: optuna.Study) -> list[Any]:
    """Trials that ended with a value, pruned ones included, in the order they were begun."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name in FINISHED]


def running_trials(study: optuna.Study) -> list[Any]:
    """Trials that some process works on, or left behind."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "RUNNING"]


def sign_of_life(trial: optuna.Trial) -> None:
    """Note in the study that this trial is being worked on, by whom."""
    trial.set_user_attr("host", socket.gethostname())
    trial.set_user_attr("alive", time.time())


def seconds_since_sign(trial: Any) -> float:
    """How long a running trial has been silent."""
    started = trial.datetime_start.timestamp() if trial.datetime_start is not None else 0.0
    return time.time() - float(trial.user_attrs.get("alive", started))


def take_over(study: optuna.Study, trial: Any) -> optuna.Trial:
    """A handle on a running trial that another process began."""
    handle: optuna.Trial = import_optuna().trial.Trial(study, trial._trial_id)
    return handle
