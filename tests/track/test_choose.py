"""Which trackers a run gets, and that a missing package is said before anything is done."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from vedette.config.train import TrainConfig
from vedette.errors import MissingExtraError, UsageError
from vedette.track.choose import open_trackers, require_packages, wandb_is_offline


def _no_package(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    original = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name == missing else original(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)


@pytest.mark.parametrize(
    ("package", "tracker"),
    [("tensorboard", "tensorboard"), ("wandb", "wandb"), ("mlflow", "mlflow"), ("sqlalchemy", "mlflow")],
)
def test_a_missing_package_is_an_error_with_the_command(
    monkeypatch: pytest.MonkeyPatch, package: str, tracker: str
) -> None:
    _no_package(monkeypatch, package)
    with pytest.raises(MissingExtraError) as caught:
        require_packages([tracker])
    assert str(caught.value) == (
        f"--track {tracker} needs the package '{package}'; install it with: pip install 'vedette[{tracker}]'"
    )


def test_an_unknown_name_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="no tracker is called 'wandbb'; did you mean 'wandb'"):
        require_packages(["wandbb"])


def test_none_by_default(tmp_path: Path) -> None:
    assert open_trackers(tmp_path, TrainConfig(), resumed=False) == []
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_keeps_its_wandb_id_and_a_new_one_gets_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_RUN_ID", raising=False)
    config = TrainConfig(track=("wandb",), weights="someone/best.safetensors")
    stored = tmp_path / "tracking" / "wandb.json"

    def identity(*, resumed: bool) -> str:
        (tracker,) = open_trackers(tmp_path, config, resumed=resumed)
        assert tracker.name == "Weights & Biases"
        return str(json.loads(stored.read_text("utf-8"))["id"])

    first = identity(resumed=False)
    assert identity(resumed=True) == first
    assert identity(resumed=False) != first, "fine-tuning from a checkpoint is a new run"
    assert [path.name for path in (tmp_path / "tracking").iterdir()] == ["wandb.json"], "nothing has begun"


@pytest.mark.parametrize(
    ("environment", "offline"),
    [
        ({}, True),
        ({"WANDB_MODE": "online"}, False),
        ({"WANDB_MODE": "offline"}, False),
        ({"WANDB_API_KEY": "k"}, False),
        ({"WANDB_IDENTITY_TOKEN_FILE": "f"}, False),
    ],
)
def test_offline_unless_told_or_logged_in(tmp_path: Path, environment: dict[str, str], offline: bool) -> None:
    assert wandb_is_offline({"NETRC": str(tmp_path / "none"), **environment}) is offline


def test_a_login_in_the_netrc_file_counts_for_its_host(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine api.wandb.ai\n  login user\n  password " + "0" * 40 + "\n", encoding="utf-8")
    path.chmod(0o600)
    assert not wandb_is_offline({"NETRC": str(path)})
    assert wandb_is_offline({"NETRC": str(path), "WANDB_BASE_URL": "https://wandb.example.org"})
    path.write_text("machine", encoding="utf-8")
    assert wandb_is_offline({"NETRC": str(path)}), "a damaged file is no login"
