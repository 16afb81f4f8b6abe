"""Configuration: strict, frozen, and safe to read from a stranger's YAML."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.config.base import read_yaml_mapping
from vedette.config.train import TrainConfig
from vedette.errors import ConfigError


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    config = TrainConfig(data="bccd", image_size=(384, 640), epochs=3)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    assert TrainConfig.load(path) == config


def test_unknown_key_names_file_and_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("epoch: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.yaml: epoch: unknown key; did you mean 'epochs'\?"):
        TrainConfig.load(path)


@pytest.mark.parametrize(
    ("given_size", "size_hw"),
    [
        (640, (640, 640)),
        ("640", (640, 640)),
        ("384x640", (384, 640)),
        (["384", "640"], (384, 640)),
        ([320], (320, 320)),
    ],
)
def test_image_size_is_height_and_width(given_size: object, size_hw: tuple[int, int]) -> None:
    assert TrainConfig.parse({"image_size": given_size}).image_size == size_hw


@pytest.mark.parametrize("bad", ["640x480x3", "wide", [], [1, 2, 3], None, 640.5, float("nan")])
def test_bad_image_sizes_are_refused(bad: object) -> None:
    with pytest.raises(ConfigError):
        TrainConfig.parse({"image_size": bad})


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(Exception, match="frozen"):
        TrainConfig().epochs = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &x [1, 2]\nb: [*x, *x]\n", "aliases"),
        ("!!python/object/apply:os.system ['touch canary']\n", "not readable YAML"),
        ("- 1\n- 2\n", "mapping"),
        ("1: 2\n", "mapping"),
        ("a: [\n", "not readable YAML"),
        ("x: " + "9" * 1_000_001, "bytes long"),
    ],
)
def test_hostile_yaml_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "evil.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=reason):
        read_yaml_mapping(path)
    assert not Path("canary").exists()


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        read_yaml_mapping(tmp_path / "nowhere.yaml")


@given(st.binary(max_size=200))
def test_any_bytes_give_a_mapping_or_our_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.mktemp("yaml") / "any.yaml"
    path.write_bytes(raw)
    with contextlib.suppress(ConfigError):
        assert isinstance(read_yaml_mapping(path), dict)
