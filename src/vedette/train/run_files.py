"""The folder of a run: where each file lies, and the settings the run was started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from vedette.checkpoint.atomic import write_atomic
from vedette.config.base import read_yaml_mapping
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.run_folder import create_run_folder
from vedette.config.train import TrainConfig
from vedette.errors import ConfigError, UsageError

_MAY_CHANGE = ("device", "workers", "threads", "cache", "save_seconds")
"""Settings that a resumed run takes from the command line. Device and threads change the last bits of the result."""


@dataclass(frozen=True)
class RunFiles:
    """A run folder and its settings.

    Attributes:
        folder: the run folder.
        config: settings; those of the run's start if it is resumed.
        hyperparameters: likewise.
        resumed: the run existed before.
    """

    folder: Path
    config: TrainConfig
    hyperparameters: Hyperparameters
    resumed: bool

    @classmethod
    def create(cls, config: TrainConfig, hyperparameters: Hyperparameters) -> RunFiles:
        """A new folder, with ``config.yaml`` in it.

        Raises:
            UsageError: no data set is named, or the folder holds a run that could be resumed.
            WriteError: the folder cannot be written.
        """
        if not config.data:
            raise UsageError(
                "no data set is named", where="vedette train", fix="give --data FILE.yaml or --data bccd"
            )
        folder = create_run_folder(config.project, config.name, config.exist_ok)
        # The number of threads decides the order of float sums, so a resumed run has to use the same.
        settled = config.model_copy(update={"threads": config.threads or torch.get_num_threads()})
        files = cls(folder, _with_absolute_paths(settled), hyperparameters, resumed=False)
        files.clear()
        document = {
            "train": files.config.model_dump(mode="json"),
            "hyperparameters": hyperparameters.model_dump(mode="json"),
        }
        write_atomic(
            files.config_file, yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8")
        )
        return files

    @classmethod
    def resume(cls, config: TrainConfig) -> RunFiles:
        """The folder of an earlier run and its settings.

        Raises:
            UsageError: there is no such run, or a setting was given that cannot change on resuming.
            ConfigError: its ``config.yaml`` is damaged.
        """
        folder = newest_run(Path(config.project)) if config.resume == "last" else _run_of(Path(config.resume))
        _refuse_changes(config)
        path = folder / "config.yaml"
        document = read_yaml_mapping(path)
        stored = TrainConfig.parse(_part(document, "train", path), where=path)
        hyperparameters = Hyperparameters.parse(_part(document, "hyperparameters", path), where=path)
        given = {name: getattr(config, name) for name in _MAY_CHANGE if name in config.model_fields_set}
        return cls(folder, stored.model_copy(update=given), hyperparameters, resumed=True)

    def clear(self) -> None:
        """Remove what an earlier run left in a folder that is used again, so that nothing of it is taken up."""
        stale = [self.results, self.events, self.summary, self.report, self.last, self.best]
        for path in [*stale, *self.state.glob("state-*.safetensors"), *self.plots.glob("*.*")]:
            path.unlink(missing_ok=True)
        for folder in (self.weights, self.state, self.plots):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def config_file(self) -> Path:
        """Settings of the run."""
        return self.folder / "config.yaml"

    @property
    def weights(self) -> Path:
        """Folder of the deployable checkpoints."""
        return self.folder / "weights"

    @property
    def last(self) -> Path:
        """Averaged weights of the last epoch."""
        return self.weights / "last.safetensors"

    @property
    def best(self) -> Path:
        """Averaged weights of the best epoch."""
        return self.weights / "best.safetensors"

    @property
    def state(self) -> Path:
        """Folder of what resume needs."""
        return self.folder / "state"

    @property
    def results(self) -> Path:
        """One row an epoch."""
        return self.folder / "results.csv"

    @property
    def events(self) -> Path:
        """What happened, one JSON line an event."""
        return self.folder / "events.jsonl"

    @property
    def plots(self) -> Path:
        """Folder of plots and pictures."""
        return self.folder / "plots"

    @property
    def summary(self) -> Path:
        """The figures of a finished run."""
        return self.folder / "summary.json"

    @property
    def report(self) -> Path:
        """The run on one page."""
        return self.folder / "report.html"

    @property
    def bad_labels(self) -> Path:
        """Every defect of the data set's splits."""
        return self.folder / "label_defects.txt"


def newest_run(project: Path) -> Path:
    """The run of ``project`` whose state was written last. Raises UsageError if there is none."""
    states = list(project.glob("**/state/state-*.safetensors"))
    if not states:
        raise UsageError("holds no run to resume", where=project, fix="give --resume RUN_FOLDER")
    return max(states, key=lambda path: path.stat().st_mtime_ns).parent.parent


def _run_of(path: Path) -> Path:
    """The run folder that a folder, checkpoint or state file belongs to."""
    for candidate in (path, path.parent, path.parent.parent):
        if (candidate / "config.yaml").is_file() and (candidate / "state").is_dir():
            return candidate
    raise UsageError("is not the folder of a run", where=path, fix="give the folder that holds config.yaml")


def _refuse_changes(config: TrainConfig) -> None:
    allowed = {*_MAY_CHANGE, "resume", "project"}
    changed = sorted(config.model_fields_set - allowed)
    if changed:
        raise UsageError(
            f"a resumed run keeps its settings, so --{changed[0].replace('_', '-')} cannot be given",
            where="--resume",
            fix="leave it out; these may change: " + ", ".join(_MAY_CHANGE),
        )


def _with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Let the run be resumed from another working directory."""
    update = {
        name: str(Path(value).resolve())
        for name in ("data", "weights", "cfg")
        if (value := getattr(config, name)) and Path(value).is_file()
    }
    return config.model_copy(update=update)


def _part(document: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise ConfigError("is missing or no mapping", where=f"{path}: {key}")
    return value
