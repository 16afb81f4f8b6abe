"""The keys of a description that say what its pictures are made of."""

import pytest

from vedette.core.picture_format import RGB8, PictureFormat
from vedette.data.description import load_description
from vedette.data.picture_keys import parse_picture_format
from vedette.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, RGB8),
        ({"channels": 3, "bits": 8}, RGB8),
        ({"channels": 1}, PictureFormat(1)),
        ({"ch": 4}, PictureFormat(4)),
        ({"ch": 4, "channels": 4}, PictureFormat(4)),
        ({"bits": 16}, PictureFormat(3, 16)),
        ({"channels": 1, "bits": 12}, PictureFormat(1, 16, (0, 4095))),
        ({"channels": 1, "bits": 9}, PictureFormat(1, 16, (0, 511))),
        ({"bits": 16, "value_range": [0, 10000]}, PictureFormat(3, 16, (0, 10000))),
        ({"bits": 12, "value_range": [256, 5000]}, PictureFormat(3, 16, (256, 5000))),
        ({"value_range": [16, 235]}, PictureFormat(3, 8, (16, 235))),
    ],
)
def test_what_they_mean(values, expected):
    assert parse_picture_format(values, "a.yaml") == expected


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"channels": 0}, "channels"),
        ({"channels": "3"}, "channels"),
        ({"channels": True}, "channels"),
        ({"channels": 257}, "channels"),
        ({"ch": 4, "channels": 3}, "ch"),
        ({"bits": 7}, "bits"),
        ({"bits": 32}, "bits"),
        ({"bits": 8.0}, "bits"),
        ({"bits": None}, "bits"),
        ({"value_range": [0, 0]}, "value_range"),
        ({"value_range": [5, 5]}, "value_range"),
        ({"value_range": [0, 256]}, "value_range"),
        ({"value_range": [-1, 10]}, "value_range"),
        ({"value_range": [0, 1.5]}, "value_range"),
        ({"value_range": 4095}, "value_range"),
        ({"value_range": [0, 1, 2]}, "value_range"),
    ],
)
def test_what_makes_no_sense_is_named(values, key):
    with pytest.raises(ConfigError) as caught:
        parse_picture_format(values, "a.yaml")
    assert caught.value.where == f"a.yaml: {key}"


def test_a_description_has_them(tmp_path):
    (tmp_path / "images").mkdir()
    path = tmp_path / "a.yaml"
    path.write_text("train: images\nnames: [a]\nchannels: 1\nbits: 12\n", encoding="utf-8")
    description = load_description(path)
    assert description.picture_format == PictureFormat(1, 16, (0, 4095))
    assert "npy" in description.picture_suffixes
    path.write_text("train: images\nnames: [a]\n", encoding="utf-8")
    assert load_description(path).picture_format == RGB8
    assert (
        "npy" not in load_description(path).picture_suffixes
    )  # caches of other programs lie beside pictures
    path.write_text("train: images\nnames: [a]\nbit: 12\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'bits'"):
        load_description(path)
