from __future__ import annotations

from pathlib import Path

import pytest

from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import UsageError
from vedette.train.distributed.ranks import ALONE
from vedette.train.folder.run_files import restarted
from vedette.train.folder.run_opening import opened_run


def _config(project: Path, **more: object) -> TrainConfig:
    return TrainConfig.parse({"data": "some.yaml", "project": str(project), **more}, where="test")


def test_a_new_run_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    with opened_run(_config(tmp_path, epochs=7), Hyperparameters(), ALONE) as (files, locked):
        assert locked
        assert not files.resumed
        assert files.folder == tmp_path / "exp"
        assert files.config_file.is_file()
    resumed = TrainConfig(resume=str(files.folder))
    with opened_run(resumed, Hyperparameters(), ALONE) as (again, _):
        assert again.resumed
        assert again.config.epochs == 7


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="no data set is named"),
        opened_run(TrainConfig(project=str(tmp_path)), Hyperparameters(), ALONE),
    ):
        raise AssertionError


def test_a_restarted_launcher_goes_on_where_there_is_a_state(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "exp3"
    (folder / "state").mkdir(parents=True)
    begun = _config(tmp_path / "runs", epochs=7, workers=2, rank_timeout=9.0)
    again = restarted(begun, folder)
    assert (again.resume, again.name, again.exist_ok) == ("", "exp3", True)
    assert Path(again.project) == tmp_path / "runs"
    (folder / "state" / "state-000000000004.safetensors").touch()
    again = restarted(begun, folder)
    assert again.resume == str(folder)
    assert again.model_fields_set == {"resume", "workers", "rank_timeout"}
    longer = TrainConfig(resume="runs/exp3", epochs=9)
    assert restarted(longer, folder).epochs == 9
