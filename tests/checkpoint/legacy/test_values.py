from __future__ import annotations

import pathlib
import pickle
from typing import Any

import numpy as np
import pytest

from vedette.checkpoint.legacy.opcodes import interpret
from vedette.checkpoint.legacy.values import number, plain
from vedette.errors import CheckpointError


def inert(value: Any) -> Any:
    return interpret(pickle.dumps(value, protocol=2))[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([0.4375]), 0.4375),
        (np.array(0.25), 0.25),
        (np.float64(-0.5), -0.5),
        (np.float32(0.5), 0.5),
        (np.int64(-3), -3),
        (np.uint8(200), 200),
        (3, 3),
        (0.5, 0.5),
        (True, None),
        (float("nan"), None),
        (np.float64("inf"), None),
        (np.array([1.0, 2.0]), None),
        (np.array(["a"]), None),
        ("1", None),
        (None, None),
        (10**400, None),
    ],
)
def test_numbers(value: Any, expected: float | None) -> None:
    stored = value if isinstance(value, int) and abs(value) > 2**100 else inert(value)
    assert number(stored) == expected


def test_an_array_that_claims_to_be_huge_is_no_number_and_takes_no_memory() -> None:
    small = pickle.dumps(np.array([0.5]), protocol=2)
    assert b"K\x01K\x00\x85" not in small
    huge = small.replace(b"K\x01\x85", b"J\xff\xff\xff\x7f\x85")
    assert huge != small
    assert number(interpret(huge)[0]) is None


def test_settings() -> None:
    assert plain(inert({"a": (1, [2.5, None]), "b": pathlib.PurePosixPath("x/y")}), "opt") == {
        "a": [1, [2.5, None]],
        "b": "x/y",
    }
    with pytest.raises(CheckpointError, match=r"opt: .*no plain value"):
        plain(inert({"a": {1}}), "opt")
    deep: list[Any] = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(CheckpointError, match="nested too deeply"):
        plain(deep, "opt")
    doubled: list[Any] = []
    for _ in range(15):
        doubled = [doubled] * 10
    with pytest.raises(CheckpointError, match="too many"):
        plain(doubled, "opt")
