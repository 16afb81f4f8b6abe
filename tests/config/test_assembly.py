"""What `detect` and `val` share: the same names, values and limits in both."""

from __future__ import annotations

from typing import Any

import pytest

from vedette.config.base import Config
from vedette.config.detect import DetectConfig
from vedette.config.evaluate import EvaluateConfig
from vedette.errors import ConfigError

SHARED = ("augment", "ensemble", "ensemble_weights", "tile", "overlap", "tile_whole")


def parsed(cls: type[Config], values: dict[str, Any]) -> Any:
    return cls.parse({"source": "pictures", **values} if cls is DetectConfig else values)


def test_both_commands_mean_the_same() -> None:
    for name in SHARED:
        detect, evaluate = DetectConfig.model_fields[name], EvaluateConfig.model_fields[name]
        assert detect.annotation == evaluate.annotation
        assert detect.default == evaluate.default
        assert detect.description == evaluate.description != ""


@pytest.mark.parametrize("cls", [DetectConfig, EvaluateConfig])
def test_what_is_taken(cls: type[Config]) -> None:
    usual = parsed(cls, {})
    assert [getattr(usual, name) for name in SHARED] == [False, "nms", None, None, 0.2, True]
    assert parsed(cls, {"weights": "a.pt"}).weights == ("a.pt",)
    given = parsed(
        cls,
        {
            "weights": ["a.pt", "b.onnx"],
            "ensemble": "wbf",
            "ensemble_weights": ["2", "1.5"],
            "tile": ["640", "960"],
            "overlap": "0.3",
            "tile_whole": False,
        },
    )
    assert (given.weights, given.ensemble_weights) == (("a.pt", "b.onnx"), (2.0, 1.5))
    assert (given.tile, given.overlap, given.tile_whole) == ((640, 960), 0.3, False)
    assert parsed(cls, {"tile": "640"}).tile == (640, 640)


@pytest.mark.parametrize("cls", [DetectConfig, EvaluateConfig])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ensemble", "soft"),
        ("ensemble_weights", [1, 0]),
        ("ensemble_weights", [float("inf")]),
        ("overlap", 0.95),
        ("overlap", -0.1),
        ("tile", [1, 2, 3]),
        ("tile", "large"),
    ],
)
def test_what_is_refused_names_its_key(cls: type[Config], name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        parsed(cls, {name: value})


def test_tiles_have_no_place_in_the_published_protocol() -> None:
    with pytest.raises(ConfigError, match="--tile has no place in --protocol yolov5"):
        EvaluateConfig.parse({"tile": 640, "protocol": "yolov5"})


def test_a_picture_that_was_taken_for_weights_is_explained() -> None:
    with pytest.raises(ConfigError, match="--source is missing; name the pictures first or behind --source"):
        DetectConfig.parse({"weights": ["best.pt", "street.jpg"]})
