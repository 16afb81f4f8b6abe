"""MLflow: parameters, metrics, pictures and checkpoints of a run, in its SQLite store or on a server.

Written for a process of its own (:mod:`vedette.track.child`). Uses the client object only, no active run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from vedette.errors import MissingExtraError
from vedette.track.events import (
    EpochDone,
    Event,
    PicturesSaved,
    RunFinished,
    RunStarted,
    WeightsSaved,
)
from vedette.track.published import GROUP_TITLES, best_scalars, scalars
from vedette.track.run_identity import read_identity, write_identity

_MAX_PARAMETERS = 100
_MAX_VALUE = 500
_ALWAYS_THERE = "x/lr0"


@dataclass(frozen=True, slots=True)
class MlflowSettings:
    """Which run to write, and what of it.

    Attributes:
        folder: where the run's identity is kept, and the store if there is no other.
        tracking_uri: the store; empty: ``folder/mlflow.db``.
        experiment: name of the experiment.
        name: shown name of the run.
        artifacts: store checkpoints.
        dataset: register the data set.
    """

    folder: Path
    tracking_uri: str
    experiment: str
    name: str
    artifacts: bool = False
    dataset: bool = False


class MlflowTracker:
    """Writes one MLflow run.

    Attributes:
        notes: texts for the people who watch the run; the reader takes them out.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError:
            raise MissingExtraError("mlflow", "mlflow", "--track mlflow") from None
        self.notes: list[str] = []
        self._settings = settings
        settings.folder.mkdir(parents=True, exist_ok=True)
        self._uri = settings.tracking_uri or sqlite_uri(settings.folder / "mlflow.db")
        self._place = without_password(self._uri)
        self._client = MlflowClient(tracking_uri=self._uri)
        self._run_id = ""
        self._told = -1
        self._finished = False

    def handle(self, event: Event) -> None:
        """Log what is shown of ``event``. Whatever MLflow raises passes through."""
        if isinstance(event, RunStarted):
            self._start(event)
        elif not self._run_id:
            return
        elif isinstance(event, EpochDone):
            self._end_epoch(event)
        elif isinstance(event, PicturesSaved):
            folder = f"plots/{GROUP_TITLES.get(event.group, event.group)}"
            for path in event.paths:
                self._client.log_artifact(self._run_id, str(path), folder)
        elif isinstance(event, WeightsSaved):
            self._log_weights(event)
        elif isinstance(event, RunFinished):
            self._finished = True

    def close(self) -> None:
        """Mark the run as finished, or as killed if it did not reach its end."""
        if self._run_id:
            self._client.set_terminated(self._run_id, "FINISHED" if self._finished else "KILLED")
            self._run_id = ""

    def _start(self, event: RunStarted) -> None:
        identity_file = self._settings.folder / "mlflow.json"
        known = read_identity(identity_file)
        if event.step and known.get("tracking_uri") == self._place and known.get("run_id"):
            self._run_id = known["run_id"]
            self._client.update_run(self._run_id, status="RUNNING")
            history = self._client.get_metric_history(self._run_id, _ALWAYS_THERE)
            self._told = max((metric.step for metric in history), default=-1)
        else:
            run = self._client.create_run(self._experiment(), run_name=self._settings.name)
            self._run_id = run.info.run_id
            write_identity(identity_file, {"tracking_uri": self._place, "run_id": self._run_id})
            self._log_parameters({**event.config, **_prefixed("hyp", event.hyperparameters)})
            for name, value in event.facts.items():
                self._client.set_tag(self._run_id, f"vedette.{name}", str(value))
            if self._settings.dataset:
                self._log_dataset(event.data)
        self.notes.append(f"MLflow run {self._run_id} in {self._place}")

    def _experiment(self) -> str:
        """Id of the experiment; in a store of our own its artifacts lie beside the store."""
        found = self._client.get_experiment_by_name(self._settings.experiment)
        if found is not None:
            return str(found.experiment_id)
        place = None
        if not self._settings.tracking_uri:
            place = (self._settings.folder / "mlflow-artifacts").resolve().as_uri()
        return str(self._client.create_experiment(self._settings.experiment, artifact_location=place))

    def _log_parameters(self, values: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        parameters = [Param(key, str(value)[:_MAX_VALUE]) for key, value in values.items()]
        for start in range(0, len(parameters), _MAX_PARAMETERS):
            self._client.log_batch(self._run_id, params=parameters[start : start + _MAX_PARAMETERS])

    def _log_dataset(self, data: Mapping[str, Any]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=f"{data['name']}-{split}",
                    digest=content["content_hash"][:36],
                    source_type="local",
                    source=str(data["description"]),
                    profile=f'{{"pictures": {int(content["pictures"])}}}',
                ),
                [InputTag("mlflow.data.context", split)],
            )
            for split, content in data["splits"].items()
        ]
        self._client.log_inputs(self._run_id, inputs)

    def _end_epoch(self, event: EpochDone) -> None:
        from mlflow.entities import Metric

        epoch, now = int(event.row["epoch"] or 0), int(time.time() * 1000)
        if epoch > self._told:  # a resumed run does some epochs twice
            values = scalars(event.row)
            metrics = [Metric(tag, value, now, epoch) for tag, value in values.items()]
            if event.best:
                metrics += [Metric(tag, value, now, epoch) for tag, value in best_scalars(event.row).items()]
            self._client.log_batch(self._run_id, metrics=metrics)

    def _log_weights(self, event: WeightsSaved) -> None:
        """One folder an alias: ``weights/best`` is replaced, ``weights/epoch-3`` stays."""
        if not self._settings.artifacts:
            return
        for alias in event.aliases:
            if alias == "last":
                continue  # the newest of every epoch would fill the store
            target = event.path.with_name(f"{alias}{event.path.suffix}")
            event.path.rename(target)
            try:
                self._client.log_artifact(self._run_id, str(target), f"weights/{alias}")
                self._client.log_dict(self._run_id, dict(event.metadata), f"weights/{alias}/metadata.json")
            finally:
                target.rename(event.path)


def sqlite_uri(path: Path) -> str:
    """The store in a file of ours: ``sqlite:////home/me/run/tracking/mlflow.db``."""
    return f"sqlite:///{path.resolve().as_posix()}"


def without_password(uri: str) -> str:
    """``uri`` without the user and password it may hold."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}/{name}": value for name, value in values.items()}
