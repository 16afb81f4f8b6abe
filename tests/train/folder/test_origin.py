"""What a run sends away counts on resuming where the run was begun, and elsewhere only if it is named again."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vedette.checkpoint.exported import record
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.data.cache_folder import CACHE_VARIABLE
from vedette.errors import UsageError
from vedette.track.run_identity import read_identity, write_identity
from vedette.train.distributed.ranks import ALONE, Ranks
from vedette.train.folder import origin
from vedette.train.folder.origin import REACHING, reaching_settings
from vedette.train.folder.run_files import RunFiles
from vedette.train.folder.run_opening import opened_run

EVERYTHING = {
    "track": ("tensorboard", "wandb"),
    "entity": "team",
    "log_artifacts": True,
    "upload_dataset": True,
    "bucket": "gs://mine",
}
"""Every setting by which a run sends something away."""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def begun(folder: Path, **settings: object) -> RunFiles:
    config = TrainConfig.parse({"data": "some.yaml", "project": str(folder), **settings}, where="test")
    with opened_run(config, Hyperparameters(), ALONE) as (files, _):
        return files


def resumed(folder: Path, **given: object) -> RunFiles:
    config = TrainConfig.parse({"resume": str(folder), **given}, where="test")
    with opened_run(config, Hyperparameters(), ALONE) as (files, _):
        return files


def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache of another machine"))


def test_these_are_all_settings_that_reach_out() -> None:
    """A new setting of a run has to be put on one side: whoever adds one looks here."""
    harmless = (
        "data weights cfg hyp epochs time_budget patience batch_size image_size device precision optimizer adam "
        "schedule cos_lr linear_lr freeze noautoanchor single_cls rect multi_scale quad image_weights "
        "repeat_threshold sync_bn rank_timeout local_rank workers threads cache seed on_bad_label val_interval noval "
        "noplots save_period nosave save_seconds resume project name exist_ok log_imgs bbox_interval evolve"
    )
    assert {*harmless.split(), *REACHING} == set(TrainConfig.model_fields)
    assert reaching_settings(TrainConfig()) == {}
    assert reaching_settings(TrainConfig(track=("tensorboard",))) == {}
    assert set(reaching_settings(TrainConfig.parse(EVERYTHING))) == set(REACHING)


def test_where_it_was_begun_a_run_keeps_everything(tmp_path: Path) -> None:
    first = begun(tmp_path, **EVERYTHING)
    again = resumed(first.folder)
    assert {name: getattr(again.config, name) for name in EVERYTHING} == EVERYTHING
    assert (again.left_off, again.warnings, first.warnings) == ({}, (), ())
    longer = resumed(first.folder, epochs=7)
    longer.keep_length()
    assert resumed(first.folder).config.bucket == "gs://mine", (
        "a new length changes config.yaml, not its origin"
    )


def test_elsewhere_nothing_is_sent_and_the_user_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(tmp_path, **EVERYTHING).folder
    another_machine(monkeypatch, tmp_path)
    again = resumed(folder)
    assert reaching_settings(again.config) == {}
    assert again.config.track == ("tensorboard",), "it writes files into the run folder, no more"
    assert list(again.left_off) == list(REACHING)
    assert again.warnings == (
        f"{folder.as_posix()}: this run was not begun here by you, so what it would send away is left off: "
        "track wandb, entity 'team', log_artifacts, upload_dataset, bucket 'gs://mine'. To use it, name it again: "
        f"--resume {folder.as_posix()} --track wandb --entity OWNER --log-artifacts --upload-dataset --bucket ADDRESS",
    )
    assert again.config.epochs == 300, "all else is as it was"
    stored = yaml.safe_load(again.config_file.read_text("utf-8"))["train"]
    assert stored["bucket"] == "gs://mine", "the folder is not changed: at home it is as it was"


def test_all_ranks_get_the_settings_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begun(tmp_path, **EVERYTHING).folder
    another_machine(monkeypatch, tmp_path)

    class SecondRank(Ranks):
        def from_first(self, make: Callable[[], Any]) -> Any:
            return pickle.loads(pickle.dumps(make()))  # as it is broadcast

    with opened_run(TrainConfig(resume=str(folder)), Hyperparameters(), SecondRank(rank=1)) as (files, _):
        assert files.folder != folder
        assert reaching_settings(files.config) == {}


def test_what_the_command_names_again_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begun(tmp_path, **EVERYTHING).folder
    another_machine(monkeypatch, tmp_path)
    again = resumed(folder, track=("wandb",), bucket="gs://other")
    assert (again.config.track, again.config.bucket, again.config.entity) == (("wandb",), "gs://other", "")
    assert list(again.left_off) == ["entity", "log_artifacts", "upload_dataset"]
    nothing = resumed(folder, track=(), entity="", log_artifacts=False, upload_dataset=False, bucket="")
    assert (nothing.left_off, nothing.warnings) == ({}, ())


@pytest.mark.parametrize("change", [{"bucket": "gs://evil"}, {"entity": "evil"}, {"project": "runs/evil"}])
def test_a_changed_setting_is_not_what_was_begun_here(tmp_path: Path, change: dict[str, str]) -> None:
    files = begun(tmp_path, **EVERYTHING)
    document = yaml.safe_load(files.config_file.read_text("utf-8"))
    document["train"].update(change)
    files.config_file.write_text(yaml.safe_dump(document), encoding="utf-8")
    again = resumed(files.folder)
    assert reaching_settings(again.config) == {}
    assert "left off" in again.warnings[0]


def test_a_copy_in_another_folder_is_not_what_was_begun_here(tmp_path: Path) -> None:
    folder = begun(tmp_path, **EVERYTHING).folder
    copy = tmp_path / "unpacked" / "exp"
    shutil.copytree(folder, copy)
    assert reaching_settings(resumed(copy).config) == {}
    assert reaching_settings(resumed(folder).config) != {}, "the negative control"


@pytest.mark.parametrize(
    "data", ["\\\\HOST\\share\\x.yaml", "//HOST/share/x.yaml", "\\\\?\\UNC\\HOST\\share\\x.yaml"]
)
def test_a_data_set_on_another_computer_is_asked_for_only_if_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str
) -> None:
    """On Windows, whose paths can name one; here they are only read."""
    monkeypatch.setattr(origin, "_ON_WINDOWS", True)
    folder = begun(tmp_path, data=data, bucket="gs://mine").folder
    assert resumed(folder).config.data == data, "begun here: the negative control"
    another_machine(monkeypatch, tmp_path)
    with pytest.raises(UsageError, match="its data set is on another computer"):
        resumed(folder)
    again = resumed(folder, data=data)
    assert (again.config.data, again.config.bucket) == (data, "")
    with pytest.raises(UsageError, match="--data cannot be given"):
        resumed(folder, data="other.yaml")


@pytest.mark.parametrize("data", ["x.yaml", "C:\\data\\x.yaml", "\\data\\x.yaml", "/data/x.yaml", "", "bccd"])
def test_other_paths_are_of_this_computer(monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    monkeypatch.setattr(origin, "_ON_WINDOWS", True)
    assert not origin.is_on_another_computer(data)


def test_elsewhere_than_on_windows_no_path_names_a_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "_ON_WINDOWS", False)
    assert not origin.is_on_another_computer("//HOST/share/x.yaml")


def test_a_record_in_the_run_folder_counts_for_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(tmp_path, **EVERYTHING).folder
    another_machine(monkeypatch, tmp_path)
    shutil.copytree(cache / record.FOLDER, folder / record.FOLDER)
    assert reaching_settings(resumed(folder).config) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_record_that_others_can_write_is_not_believed(tmp_path: Path, cache: Path) -> None:
    folder = begun(tmp_path, **EVERYTHING).folder
    os.chmod(cache / record.FOLDER, 0o777)  # noqa: PTH101
    assert reaching_settings(resumed(folder).config) == {}


def test_hostile_text_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begun(tmp_path, bucket="gs://x\x1b[2J; rm -rf ~ " + "y" * 500).folder
    another_machine(monkeypatch, tmp_path)
    (warning,) = resumed(folder).warnings
    assert "\x1b" not in warning
    assert "rm -rf" not in warning.partition("name it again")[2], "that part is copied to a shell"
    assert len(warning) < 600


def test_nothing_is_recorded_of_a_run_that_sends_nothing(tmp_path: Path, cache: Path) -> None:
    assert resumed(begun(tmp_path, track=("tensorboard",)).folder).warnings == ()
    assert not cache.exists()


def test_without_a_record_the_user_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    files = begun(tmp_path, bucket="gs://mine")
    (warning,) = files.warnings
    assert "cannot be remembered" in warning
    assert "--bucket ADDRESS again" in warning
    assert files.config.bucket == "gs://mine", "the run itself does what its command says"
    assert resumed(files.folder).config.bucket == ""


def test_what_trackers_kept_elsewhere_is_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of MLflow names the address that its files go to: one from elsewhere is not opened."""
    folder = begun(tmp_path, track=("mlflow", "wandb")).folder
    place = folder / "tracking"
    write_identity(place / "wandb.json", {"id": "1234"})
    write_identity(place / "mlflow.json", {"tracking_uri": f"sqlite:///{place}/mlflow.db", "run_id": "5"})
    (place / "mlflow.db").write_bytes(b"a store")
    assert resumed(folder).warnings == ()
    assert (place / "mlflow.db").exists(), "where it was begun it is continued: the negative control"
    another_machine(monkeypatch, tmp_path)
    assert "tracking" not in "".join(resumed(folder).warnings), "without trackers nothing is opened or moved"
    again = resumed(folder, track=("mlflow", "wandb"))
    assert again.warnings == ("what trackers kept here on another machine is now in tracking-elsewhere",)
    assert [path.name for path in place.iterdir()] == ["wandb.json"]
    assert read_identity(place / "wandb.json") == {"id": "1234"}, "the run at W&B is gone on with"
    assert (folder / "tracking-elsewhere" / "mlflow.db").read_bytes() == b"a store"
    (place / "mlflow.db").write_bytes(b"a new store")
    assert resumed(folder, track=("mlflow",)).warnings == (), "what was begun here is continued here"
    assert (place / "mlflow.db").exists()


def test_a_run_on_a_server_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = begun(tmp_path, track=("mlflow",)).folder
    identity = {"tracking_uri": "https://mlflow.example.org", "run_id": "5"}
    write_identity(folder / "tracking" / "mlflow.json", identity)
    another_machine(monkeypatch, tmp_path)
    (folder / "tracking-elsewhere").mkdir()
    resumed(folder, track=("mlflow",))
    assert read_identity(folder / "tracking" / "mlflow.json") == identity
    assert (folder / "tracking-elsewhere2").is_dir()


def test_a_new_run_in_a_used_folder_does_not_take_up_its_store(tmp_path: Path) -> None:
    store = tmp_path / "exp" / "tracking" / "mlflow.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"somebody's")
    files = begun(tmp_path, track=("mlflow",), exist_ok=True)
    assert not store.exists()
    assert files.warnings == ("what trackers kept here on another machine is now in tracking-elsewhere",)
