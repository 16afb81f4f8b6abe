"""Errors say what, where and what to do, and survive a process border."""

from __future__ import annotations

import pickle

import pytest

from vedette import errors
from vedette.errors import (
    ImageError,
    InterruptedRunError,
    MissingExtraError,
    VedetteError,
    WriteError,
    nearest,
)


def test_one_line_with_place_and_remedy() -> None:
    error = VedetteError("has 4 columns, expected 5", where="labels/a.txt:3", fix="add the height")
    assert str(error) == "labels/a.txt:3: has 4 columns, expected 5; add the height"
    assert str(VedetteError("is empty")) == "is empty"


def test_missing_extra_prints_the_pip_command() -> None:
    text = str(MissingExtraError("matplotlib", "train", "drawing plots"))
    assert "pip install 'vedette[train]'" in text
    assert "drawing plots" in text


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VedetteError("x"), 2),
        (WriteError("x"), 3),
        (errors.DivergedError("x"), 4),
        (InterruptedRunError("x", signal_number=2), 130),
        (InterruptedRunError("x", signal_number=15), 143),
    ],
)
def test_exit_codes(error: VedetteError, code: int) -> None:
    assert error.exit_code == code


def test_errors_cross_process_borders_whole() -> None:
    error = pickle.loads(
        pickle.dumps(ImageError("ends early", where="a.jpg", fix="get it again", kind="truncated"))
    )
    assert isinstance(error, ImageError)
    assert (error.kind, str(error)) == ("truncated", "a.jpg: ends early; get it again")


def test_nearest_names_one_or_all() -> None:
    assert nearest("epoch", ["epochs", "data"]) == "did you mean 'epochs'?"
    assert nearest("silu", ["SiLU", "ReLU6"]) == "did you mean 'SiLU'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
