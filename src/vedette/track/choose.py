"""The trackers that a run is told to use by name (``--track tensorboard wandb mlflow``)."""

from __future__ import annotations

import importlib.util
import netrc
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from vedette.config.train import TrainConfig
from vedette.errors import MissingExtraError, UsageError, nearest
from vedette.track.background import Background
from vedette.track.child_process import ChildTracker
from vedette.track.mlflow_store import MlflowSettings
from vedette.track.published import project_name
from vedette.track.run_identity import read_identity, tracking_folder, write_identity
from vedette.track.tensorboard import TensorBoardTracker
from vedette.track.weights_and_biases import WandbSettings

_PACKAGES = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy")}
_WANDB_HOST = "https://api.wandb.ai"


def require_packages(names: Iterable[str]) -> None:
    """Refuse trackers that cannot work, before anything else is done.

    Raises:
        UsageError: there is no such tracker.
        MissingExtraError: its package is not installed.
    """
    for name in names:
        if name not in _PACKAGES:
            raise UsageError(f"no tracker is called '{name}'", where="--track", fix=nearest(name, _PACKAGES))
        for package in _PACKAGES[name]:
            if importlib.util.find_spec(package) is None:
                raise MissingExtraError(package, name, f"--track {name}")


def open_trackers(folder: Path, config: TrainConfig, *, resumed: bool) -> list[Background]:
    """The trackers that ``config.track`` names, each in a thread of its own. Starts and sends nothing yet.

    Args:
        folder: of the run.
        config: of the run.
        resumed: continue the runs that were stored in ``folder``.

    Raises:
        UsageError, MissingExtraError: see :func:`require_packages`.
    """
    require_packages(config.track)
    open_one: Mapping[str, Callable[[], Background]] = {
        "tensorboard": lambda: Background(TensorBoardTracker(folder), name="TensorBoard"),
        "wandb": lambda: _open_wandb(folder, config, resumed, os.environ),
        "mlflow": lambda: _open_mlflow(folder, config, os.environ),
    }
    return [open_one[name]() for name in dict.fromkeys(config.track)]


def _open_wandb(
    folder: Path, config: TrainConfig, resumed: bool, environment: Mapping[str, str]
) -> Background:
    place = tracking_folder(folder).resolve()
    stored = read_identity(place / "wandb.json") if resumed else {}
    run_id = stored.get("id") or environment.get("WANDB_RUN_ID") or secrets.token_hex(4)
    if stored.get("id") != run_id:
        write_identity(place / "wandb.json", {"id": run_id})
    settings = WandbSettings(
        folder=place,
        project=project_name(config.project),
        name=folder.name,
        run_id=run_id,
        entity=config.entity,
        offline=wandb_is_offline(environment),
        artifacts=config.log_artifacts,
        dataset=config.upload_dataset,
    )
    files = {"WANDB_DATA_DIR": "wandb-data", "WANDB_CACHE_DIR": "wandb-cache"}
    child = ChildTracker(
        "wandb",
        settings,
        log=place / "wandb.log",
        environment={
            "WANDB_ERROR_REPORTING": "false",
            **{name: str(place / folder) for name, folder in files.items()},
        },
    )
    return Background(child, name="Weights & Biases", notes=child.notes, abandon=child.abandon)


def _open_mlflow(folder: Path, config: TrainConfig, environment: Mapping[str, str]) -> Background:
    place = tracking_folder(folder).resolve()
    settings = MlflowSettings(
        folder=place,
        tracking_uri=environment.get("MLFLOW_TRACKING_URI", ""),
        experiment=environment.get("MLFLOW_EXPERIMENT_NAME") or project_name(config.project),
        name=folder.name,
        artifacts=config.log_artifacts,
        dataset=config.upload_dataset,
    )
    child = ChildTracker(
        "mlflow",
        settings,
        log=place / "mlflow.log",
        environment={"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"},
    )
    return Background(child, name="MLflow", notes=child.notes, abandon=child.abandon)


def wandb_is_offline(environment: Mapping[str, str]) -> bool:
    """True if W&B shall write to the run folder only: neither WANDB_MODE nor a login says otherwise.

    A login is WANDB_API_KEY, WANDB_IDENTITY_TOKEN_FILE, or an entry for W&B's host in the netrc file, which is
    where ``wandb login`` puts it. Nothing is sent to find out.
    """
    if environment.get("WANDB_MODE"):
        return False
    if environment.get("WANDB_API_KEY") or environment.get("WANDB_IDENTITY_TOKEN_FILE"):
        return False
    host = urlsplit(environment.get("WANDB_BASE_URL") or _WANDB_HOST).hostname or ""
    return not any(_has_login(path, host) for path in _netrc_files(environment))


def _netrc_files(environment: Mapping[str, str]) -> list[Path]:
    if environment.get("NETRC"):
        return [Path(environment["NETRC"]).expanduser()]
    try:
        return [Path.home() / ".netrc", Path.home() / "_netrc"]
    except RuntimeError:  # no home folder
        return []


def _has_login(path: Path, host: str) -> bool:
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
