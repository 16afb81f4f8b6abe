"""The real package with its SQLite store, in its own process, read back by its own client."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.track.story import epoch_done, row, started, whole_story
from vedette.track.child_process import ChildTracker
from vedette.track.events import Event, RunFinished
from vedette.track.mlflow_store import MlflowSettings, sqlite_uri, without_password
from vedette.track.published import scalars
from vedette.track.run_identity import read_identity

needs_mlflow = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("mlflow", "sqlalchemy")),
    reason="needs the extra 'mlflow'",
)


def _tell(folder: Path, *events: Event) -> None:
    place = folder / "tracking"
    settings = MlflowSettings(place, "", "cells", "exp", artifacts=True, dataset=True)
    child = ChildTracker(
        "mlflow", settings, log=place / "mlflow.log", environment={"MLFLOW_DISABLE_TELEMETRY": "true"}
    )
    for event in events:
        child.handle(event)
    child.close()


@pytest.fixture
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the package, in this process only for reading back
        yield


@needs_mlflow
@pytest.mark.usefixtures("_quiet")
def test_a_run_and_its_second_part_read_back(tmp_path: Path) -> None:
    """In one test, because a new store takes MLflow seconds."""
    from mlflow import MlflowClient

    _tell(tmp_path, *whole_story(tmp_path)[:-1])  # killed before its end
    place = tmp_path / "tracking"
    run_id = read_identity(place / "mlflow.json")["run_id"]
    client: Any = MlflowClient(tracking_uri=sqlite_uri(place / "mlflow.db"))
    run = client.get_run(run_id)
    assert (run.info.run_name, run.info.status) == ("exp", "KILLED")
    assert client.get_experiment(run.info.experiment_id).name == "cells"
    assert (run.data.params["epochs"], run.data.params["hyp/lr0"]) == ("2", "0.01")
    assert run.data.tags["vedette.model"] == "tiny, 1,000 parameters"
    wanted = scalars(row(0))
    for tag, value in wanted.items():
        first = client.get_metric_history(run_id, tag)[0]
        assert (first.step, first.value) == (0, value)
    assert run.data.metrics["best/epoch"] == 0
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.tags[0].value) == ("two classes-train", "train")
    for alias in ("best", "epoch-1"):
        folder = Path(client.download_artifacts(run_id, f"weights/{alias}"))
        assert (folder / f"{alias}.safetensors").read_bytes() == b"first"
    assert [file.path for file in client.list_artifacts(run_id, "plots/Labels")] == [
        "plots/Labels/labels.jpg"
    ]
    assert not list((tmp_path / "weights").glob("best*")), "the run's own files keep their names"

    _tell(
        tmp_path,
        started(tmp_path, row(0)),
        epoch_done(1, ap=0.5, best=True),  # was told before the kill
        epoch_done(2),
        RunFinished({}, ()),
    )
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run_id, "train/box_loss")] == [0, 1, 2]
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_passwords_are_not_written_down() -> None:
    assert without_password("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert without_password("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"
