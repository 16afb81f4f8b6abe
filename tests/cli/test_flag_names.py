"""Beginnings of flags and underscores mean what they meant to the reference."""

from __future__ import annotations

import pytest

from vedette.cli.flag_names import full_names
from vedette.errors import UsageError

KNOWN = {"--epochs": "epochs", "--img": "size", "--img-size": "size", "--image-weights": "weights", "--lr0": "lr0",
         "--lrf": "lrf", "--local_rank": "rank", "--local-rank": "rank"}  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--epochs", "--epochs"),
        ("--ep", "--epochs"),
        ("--ep=3", "--epochs=3"),
        ("--img", "--img"),
        ("--image", "--image-weights"),
        ("--image_weights", "--image-weights"),
        ("--image_w", "--image-weights"),
        ("--img_s", "--img-size"),
        ("--local_rank=1", "--local_rank=1"),
        ("--local", "--local_rank"),
        ("--unknown", "--unknown"),
        ("--unknown_a=b_c", "--unknown_a=b_c"),
        ("epochs", "epochs"),
        ("-e", "-e"),
        ("-1", "-1"),
    ],
)
def test_names(typed: str, meant: str) -> None:
    assert full_names("vedette train", KNOWN, [typed, "value_a"]) == [meant, "value_a"]


def test_ambiguous_beginnings_list_the_candidates() -> None:
    with pytest.raises(UsageError, match="vedette train: --lr may mean --lr0, --lrf"):
        full_names("vedette train", KNOWN, ["--lr", "0.1"])


def test_nothing_after_two_dashes_is_a_flag() -> None:
    assert full_names("vedette detect", KNOWN, ["--", "--ep"]) == ["--", "--ep"]
