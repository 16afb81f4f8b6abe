"""The folder of a run: where each file lies, and the settings the run was started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from vedette.track.run_identity import forget_identities
from vedette.train.folder.origin import left_off_warning, note_origin, settle_tracking, trusted_settings

_LENGTH = ("epochs", "time_budget", "patience")
"""Settings that a resumed run takes from the command line and keeps: it is planned anew with them."""

_MAY_CHANGE = (
    *("device", "workers", "threads", "cache", "save_seconds"),
    *(*_LENGTH, "save_period", "nosave", "noplots", "bucket", "rank_timeout", "local_rank"),
    *("track", "entity", "log_imgs", "bbox_interval", "log_artifacts", "upload_dataset"),
)
"""Settings that a resumed run takes from the command line. Device and threads change the last bits of the result."""


@dataclass(frozen=True)
class RunFiles:
    """A run folder and its settings.

    Attributes:
        folder: the run folder.
        config: settings; those of the run's start if it is resumed.
        hyperparameters: likewise.
        resumed: the run existed before.
        replanned: it was resumed with a new length, or with another rule for it.
        left_off: settings that would send something away and do not count, since the run was begun elsewhere.
        warnings: what to tell the user at the start.
    """

    folder: Path
    config: TrainConfig
    hyperparameters: Hyperparameters
    resumed: bool
    replanned: bool = False
    left_off: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @classmethod
    def create(cls, folder: Path, config: TrainConfig, hyperparameters: Hyperparameters) -> RunFiles:
        """A new run in a folder, with ``config.yaml`` in it. What an earlier run left there is removed.

        Raises:
            WriteError: the folder cannot be written.
        """
        # The number of threads decides the order of float sums, so a resumed run has to use the same.
        settled = config.model_copy(update={"threads": config.threads or torch.get_num_threads()})
        rates = hyperparameters.for_optimizer(config.optimizer)
        files = cls(folder, _with_absolute_paths(settled), rates, resumed=False)
        files.clear()
        files.write_config(files.config)
        return replace(files, warnings=note_origin(folder, files.config))

    @classmethod
    def resume(cls, folder: Path, config: TrainConfig) -> RunFiles:
        """The folder of an earlier run and its settings.

        What sends something away counts if the run was begun here by this user, or if ``config`` names it.

        Raises:
            UsageError: a setting was given that cannot change on resuming.
            ConfigError: its ``config.yaml`` is damaged.
        """
        path = folder / "config.yaml"
        document = read_yaml_mapping(path)
        stored = TrainConfig.parse(_part(document, "train", path), where=path)
        _refuse_changes(config, stored)
        hyperparameters = Hyperparameters.parse(_part(document, "hyperparameters", path), where=path)
        given = {name: getattr(config, name) for name in _MAY_CHANGE if name in config.model_fields_set}
        if "epochs" in given and stored.time_budget and "time_budget" not in given:
            given["time_budget"] = 0.0  # whoever names the epochs has decided how long it may take
        trusted, left_off = trusted_settings(folder, stored, config.model_fields_set)
        changed = trusted.model_copy(update=given)
        warnings = settle_tracking(folder, changed)
        if left_off:
            warnings = (left_off_warning(folder, left_off), *warnings)
        replanned = any(name in given for name in _LENGTH)
        return cls(
            folder,
            changed,
            hyperparameters,
            resumed=True,
            replanned=replanned,
            left_off=left_off,
            warnings=warnings,
        )

    def keep_length(self) -> None:
        """Write the length settings of this resumption into ``config.yaml``. Raises ConfigError, WriteError."""
        stored = _part(read_yaml_mapping(self.config_file), "train", self.config_file)
        length = {name: getattr(self.config, name) for name in _LENGTH}
        self.write_config(TrainConfig.parse({**stored, **length}, where=self.config_file))

    def write_config(self, config: TrainConfig) -> None:
        """Write ``config.yaml``. Raises WriteError."""
        document = {
            "train": config.model_dump(mode="json"),
            "hyperparameters": self.hyperparameters.model_dump(mode="json"),
        }
        write_atomic(
            self.config_file, yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode("utf-8")
        )

    def clear(self) -> None:
        """Remove what an earlier run left in a folder that is used again, so that nothing of it is taken up."""
        stale = [self.results, self.events, self.manifest, self.summary, self.report, self.last, self.best]
        stale += [self.results_text, self.transfer, *self.weights.glob("epoch-*.safetensors")]
        for path in [*stale, *self.state.glob("state-*.safetensors"), *self.plots.glob("*.*")]:
            path.unlink(missing_ok=True)
        forget_identities(self.folder)
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

    def epoch_weights(self, epochs_done: int) -> Path:
        """Averaged weights after so many epochs (``--save-period``)."""
        return self.weights / f"epoch-{epochs_done}.safetensors"

    @property
    def state(self) -> Path:
        """Folder of what resume needs."""
        return self.folder / "state"

    @property
    def results(self) -> Path:
        """One row an epoch."""
        return self.folder / "results.csv"

    @property
    def results_text(self) -> Path:
        """The same in the published 15 columns."""
        return self.folder / "results.txt"

    @property
    def events(self) -> Path:
        """What happened, one JSON line an event."""
        return self.folder / "events.jsonl"

    @property
    def plots(self) -> Path:
        """Folder of plots and pictures."""
        return self.folder / "plots"

    @property
    def transfer(self) -> Path:
        """What was taken from ``--weights``, if they were given."""
        return self.folder / "transfer.txt"

    @property
    def manifest(self) -> Path:
        """Where the run comes from: versions, machine, data, command lines."""
        return self.folder / "manifest.json"

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


def run_folder(config: TrainConfig) -> Path:
    """The folder that a run shall write into: a new one, or that of the run to resume.

    Raises:
        UsageError: no data set is named, or there is no such run to resume.
        WriteError: the new folder cannot be created.
    """
    if config.resume == "last":
        return newest_run(Path(config.project))
    if config.resume:
        return _run_of(Path(config.resume))
    if not config.data:
        raise UsageError(
            "no data set is named", where="vedette train", fix="give --data FILE.yaml or --data bccd"
        )
    return create_run_folder(config.project, config.name, config.exist_ok)


def restarted(config: TrainConfig, folder: Path) -> TrainConfig:
    """The settings that go on with the run in ``folder``, which was begun, or gone on with, under these.

    Without a saved state the run is begun again in the same folder.
    """
    if any(folder.glob("state/state-*.safetensors")):
        kept = {name: getattr(config, name) for name in _MAY_CHANGE if name in config.model_fields_set}
        if not config.resume:
            kept = {name: value for name, value in kept.items() if name not in _LENGTH}
        return TrainConfig(resume=str(folder), **kept)
    return config.model_copy(update={"project": str(folder.parent), "name": folder.name, "exist_ok": True})


def newest_run(project: Path) -> Path:
    """The run of ``project`` whose state was written last. Raises UsageError if there is none.

    A run that another process is working on is not passed over: to take up an older one instead would surprise.
    """
    states = list(project.glob("**/state/state-*.safetensors"))
    if not states:
        raise UsageError("holds no run to resume", where=project, fix="give --resume RUN_FOLDER")
    return max(states, key=lambda path: path.stat().st_mtime_ns).parent.parent


def _run_of(path: Path) -> Path:
    """The run folder that a folder, checkpoint or state file belongs to."""
    for candidate in (path, path.parent, path.parent.parent):
        if (candidate / "config.yaml").is_file() and (candidate / "state").is_dir():
            return candidate
    fix = "give the folder that holds config.yaml"
    if path.suffix.lower() in (".pt", ".pth"):
        fix = f"a checkpoint of YOLOv5 cannot be resumed, but trained on: --weights {path.name}"
    raise UsageError("is not the folder of a run", where=path, fix=fix)


def _refuse_changes(config: TrainConfig, stored: TrainConfig) -> None:
    allowed = {*_MAY_CHANGE, "resume", "project"}
    if _with_absolute_paths(config).data == stored.data:
        allowed.add("data")
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
