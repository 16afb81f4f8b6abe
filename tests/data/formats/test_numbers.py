from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.data.formats.numbers import read_number, read_numbers


@settings(deadline=None, max_examples=200)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_finite_number_is_read_exactly(value: float) -> None:
    assert read_number(repr(value)) == (value, "")


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=12))
def test_any_text_is_a_number_or_has_a_kind(token: str) -> None:
    value, kind = read_number(token)
    if kind:
        assert math.isnan(value) or math.isinf(value)
    else:
        assert value == float(token)


@pytest.mark.parametrize(
    ("token", "kind"),
    [
        ("NaN", "nan"),
        ("-inf", "infinite"),
        ("1e400", "infinite"),
        ("0x1F", "hexadecimal"),
        ("1_000", "underscore"),
        ("_1", "underscore"),
        ("0,5", "decimal-comma"),
        ("٠", "not-a-number"),
        ("1e", "not-a-number"),
        ("", "not-a-number"),
        (" 1", "not-a-number"),
    ],
)
def test_kinds(token: str, kind: str) -> None:
    assert read_number(token)[1] == kind


def test_several_name_the_first_fault() -> None:
    assert read_numbers(["1", "2.5"]) == ([1.0, 2.5], "", "")
    assert read_numbers(["1", "nan", "x"]) == ([], "nan", "nan")
