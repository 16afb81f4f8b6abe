"""The published names, and which of them are known of an epoch."""

from __future__ import annotations

import pytest

from tests.track.story import row
from vedette.track.published import SCALAR_TAGS, best_scalars, project_name, scalars


def test_thirteen_scalars_in_their_published_order() -> None:
    assert list(scalars(row(2))) == list(SCALAR_TAGS)
    assert len(SCALAR_TAGS) == 13
    assert scalars(row(2))["metrics/mAP_0.5:0.95"] == 0.25


def test_what_was_not_measured_is_left_out() -> None:
    assert [tag for tag in SCALAR_TAGS if tag not in scalars(row(0, None))] == list(SCALAR_TAGS[3:7])


def test_best_epoch() -> None:
    expected = {
        "best/epoch": 3,
        "best/precision": 0.375,
        "best/recall": 0.5,
        "best/mAP_0.5": 0.625,
        "best/mAP_0.5:0.95": 0.25,
    }
    assert best_scalars(row(3)) == expected


@pytest.mark.parametrize(
    ("folder", "project"),
    [("runs/train", "vedette"), ("runs/train/", "vedette"), ("/data/cells.v2", "cells"), ("mine", "mine")],
)
def test_project(folder: str, project: str) -> None:
    assert project_name(folder) == project
