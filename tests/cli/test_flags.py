"""Flags: the names people know, one way of checking, and no argument that gets lost."""

from __future__ import annotations

from typing import Any

import pytest

from vedette.cli.flags import parse_arguments, validate
from vedette.config.hyperparameters import Hyperparameters
from vedette.config.train import TrainConfig
from vedette.errors import ConfigError, UsageError


def _train(*arguments: str) -> dict[str, Any]:
    given = parse_arguments("vedette train", "Train.", [TrainConfig, Hyperparameters], arguments)
    assert given is not None
    return {**given[TrainConfig], **given[Hyperparameters]}


@pytest.mark.parametrize("flag", ["--img-size", "--img", "--imgsz"])
def test_image_size_takes_one_or_two_numbers(flag: str) -> None:
    assert validate("vedette train", TrainConfig, _train(flag, "640")).image_size == (640, 640)
    assert validate("vedette train", TrainConfig, _train(flag, "384", "640", "--nosave")).image_size == (
        384,
        640,
    )


def test_a_third_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="--img-size: give one number"):
        validate("vedette train", TrainConfig, _train("--img", "640", "480", "320"))


def test_leftovers_are_refused() -> None:
    with pytest.raises(UsageError, match="unexpected argument 'stray'"):
        _train("--nosave", "stray")
    with pytest.raises(UsageError, match="unexpected argument 'stray'"):
        _train("--epochs", "3", "stray")


def test_a_typo_names_the_nearest_flag() -> None:
    with pytest.raises(UsageError, match="--epochs"):
        _train("--epocks", "3")


def test_a_flag_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="multiple times"):
        _train("--epochs", "3", "--epochs", "4")


def test_flags_that_may_stand_alone() -> None:
    assert _train("--resume", "--epochs", "3") == {"resume": "last", "epochs": "3"}
    assert _train("--resume", "runs/train/exp") == {"resume": "runs/train/exp"}
    assert _train("--cache")["cache"] == "ram"


def test_bad_values_name_the_flag() -> None:
    with pytest.raises(ConfigError, match=r"vedette train: --batch-size: .*greater than or equal to 1"):
        validate("vedette train", TrainConfig, _train("--batch", "0"))


def test_hyperparameters_are_flags_too() -> None:
    assert _train("--lr0", "0.02", "--fl-gamma", "1.5") == {"lr0": "0.02", "fl_gamma": "1.5"}


def test_help_prints_every_flag_and_stops(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_arguments("vedette train", "Train.", [TrainConfig, Hyperparameters], ["--help"]) is None
    text = capsys.readouterr().out
    for flag in ("--img-size", "--batch-size", "--warmup-epochs", "--resume"):
        assert flag in text
