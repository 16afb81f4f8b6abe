from pathlib import Path

import pytest

from vedette.config.tune import TuneConfig
from vedette.errors import UsageError, WriteError
from vedette.tune.space import searched_ranges
from vedette.tune.study import (
    build_sampler,
    finished_trials,
    open_study,
    running_trials,
    seconds_since_sign,
    sign_of_life,
    suggest,
    take_over,
    trial_seed,
)

optuna = pytest.importorskip("optuna", reason="the extra 'tune' is not installed")

RANGES = searched_ranges(["lr0", "degrees"])


def _config(folder: Path, **values: object) -> TuneConfig:
    return TuneConfig(study=str(folder), **values)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", ["genetic", "tpe", "cmaes", "random"])
@pytest.mark.parametrize("pruner", ["none", "median", "hyperband"])
def test_every_sampler_and_pruner(sampler: str, pruner: str, tmp_path: Path) -> None:
    config = _config(tmp_path / "s", sampler=sampler, pruner=pruner, trials=6)
    study = open_study(config, epochs=9)
    for number in range(6):
        study.sampler = build_sampler(config, trial_seed(0, 0, number))
        trial = study.ask()
        values = suggest(trial, RANGES)
        assert RANGES["lr0"].low <= values["lr0"] <= RANGES["lr0"].high
        for epoch in range(3):
            trial.report(-values["degrees"], epoch)
            trial.should_prune()
        study.tell(trial, -values["degrees"])
    assert len(finished_trials(study)) == 6


def test_a_study_goes_on_with_the_same_values_after_a_restart(tmp_path: Path) -> None:
    def values_of(folder: Path, *, restart: bool) -> list[float]:
        config = _config(folder, trials=8)
        study = open_study(config, epochs=3)
        values = []
        for number in range(8):
            if restart:
                study = open_study(config, epochs=3)
            study.sampler = build_sampler(config, trial_seed(1, 0, number))
            trial = study.ask()
            values.append(suggest(trial, RANGES)["degrees"])
            study.tell(trial, -values[-1])
        return values

    assert values_of(tmp_path / "a", restart=True) == values_of(tmp_path / "b", restart=False)


def test_taking_over_a_running_trial(tmp_path: Path) -> None:
    config = _config(tmp_path / "s")
    study = open_study(config, epochs=3)
    study.sampler = build_sampler(config, 3)
    trial = study.ask()
    values = suggest(trial, RANGES)
    sign_of_life(trial)
    other = open_study(config, epochs=3)
    (left,) = running_trials(other)
    assert seconds_since_sign(left) < 60
    handle = take_over(other, left)
    assert suggest(handle, RANGES) == values
    other.tell(handle, 0.5)
    assert [trial.value for trial in finished_trials(study)] == [0.5]


def test_a_database_as_storage(tmp_path: Path) -> None:
    config = _config(tmp_path / "s", storage=f"sqlite:///{(tmp_path / 'study.db').as_posix()}")
    study = open_study(config, epochs=3)
    study.tell(study.ask(), 0.1)
    assert len(finished_trials(open_study(config, epochs=3))) == 1


def test_storages_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nosuchdb"):
        open_study(_config(tmp_path / "s", storage="nosuchdb://x"), epochs=3)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(WriteError, match="file"):
        open_study(_config(tmp_path / "file" / "s"), epochs=3)
    damaged = tmp_path / "d"
    damaged.mkdir()
    (damaged / "study.journal").write_text('{"op_code": 0\nnot json\n{}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="damaged journal"):
        open_study(_config(damaged), epochs=3)
