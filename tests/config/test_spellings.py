"""Switches that stand for a value, and their contradictions."""

from __future__ import annotations

from typing import Any

import pytest

from vedette.config.spellings import same_meaning
from vedette.config.train import TrainConfig
from vedette.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "optimizer", "schedule"),
    [
        ({}, "SGD", "cosine"),
        ({"adam": True}, "Adam", "cosine"),
        ({"adam": True, "optimizer": "Adam"}, "Adam", "cosine"),
        ({"adam": False, "optimizer": "AdamW"}, "AdamW", "cosine"),
        ({"linear_lr": True}, "SGD", "linear"),
        ({"cos_lr": "true", "schedule": "cosine"}, "SGD", "cosine"),
    ],
)
def test_switches(given: dict[str, Any], optimizer: str, schedule: str) -> None:
    config = TrainConfig.parse(given)
    assert (config.optimizer, config.schedule) == (optimizer, schedule)
    assert TrainConfig.parse(config.model_dump()) == config


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"adam": True, "optimizer": "SGD"}, "--adam and --optimizer SGD contradict each other"),
        ({"cos_lr": True, "linear_lr": True}, "--linear-lr and --cos-lr contradict each other"),
        ({"linear_lr": True, "schedule": "cosine"}, "--linear-lr and --schedule cosine contradict"),
        ({"patience": 3, "noval": True}, "--patience needs measurements"),
        ({"adam": "perhaps"}, "adam: Input should be a valid boolean"),
    ],
)
def test_contradictions(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig.parse(given, where="vedette train")


def test_the_values_given_are_not_changed() -> None:
    given = {"adam": True}
    assert same_meaning(given) == {"adam": True, "optimizer": "Adam"}
    assert given == {"adam": True}
