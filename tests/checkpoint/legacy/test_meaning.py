"""Class names, options and what is said about a file."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.checkpoint.legacy.published import (
    filled_detector,
    published_network,
    save,
    save_release,
    small_architecture,
    training_entries,
)
from vedette.checkpoint.legacy.read import read_legacy


def test_class_names_that_are_missing(tmp_path: Path) -> None:
    detector = filled_detector(small_architecture("v4.0"))
    for given, expected in (
        (None, ("class 0", "class 1")),
        ([7, "x\x00y"], ("7", "class 1")),
        (["a", "b", "c"], ("a", "b")),
        ({1: "b"}, ("class 0", "b")),
        ({"0": "a", "1": "b"}, ("a", "b")),
        ({"9" * 5000: "a", 0: 2.5}, ("2.5", "class 1")),  # Python refuses to convert so many digits
        ([None, ["a"]], ("class 0", "class 1")),
    ):
        assert read_legacy(save_release(tmp_path / "a.pt", detector, names=given)).class_names == expected


def test_options_as_the_trainer_kept_them(tmp_path: Path) -> None:
    """A dictionary, or the namespace of the command line itself; one size, or one for training and one for tests."""
    network = published_network(filled_detector(small_architecture("v4.0")))
    for options, expected in (
        ({"imgsz": 416}, 416),
        ({"img_size": [320, 512]}, 512),
        (argparse.Namespace(imgsz=352), 352),
        ({"imgsz": 10**9}, None),
        ({"imgsz": True}, None),
        (None, None),
    ):
        path = save(tmp_path / "a.pt", {**training_entries(network, "v4.0"), "opt": options})
        assert read_legacy(path).facts["image_size"] == expected
