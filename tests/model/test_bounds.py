from __future__ import annotations

from typing import Any

import pytest

from vedette.errors import ModelError
from vedette.model.bounds import (
    check_flag,
    check_integer,
    check_list,
    check_mapping,
    check_number,
    check_text,
    check_word,
    placed,
    shown,
)

HUGE = 1 << 100_000


@pytest.mark.parametrize(
    "value", [0, 11, True, 2.0, "2", None, HUGE, [HUGE]], ids=lambda value: type(value).__name__
)
def test_integers(value: Any) -> None:
    assert check_integer(5, 1, 10, "key") == 5
    with pytest.raises(ModelError, match="key: must be a whole number from 1 to 10, not "):
        check_integer(value, 1, 10, "key")


@pytest.mark.parametrize(
    "value",
    [0.05, 11, False, "2", None, float("nan"), float("inf"), HUGE],
    ids=lambda value: type(value).__name__,
)
def test_numbers(value: Any) -> None:
    assert check_number(5, 0.1, 10, "key") == 5.0
    with pytest.raises(ModelError, match=r"key: must be a number from 0\.1 to 10, not "):
        check_number(value, 0.1, 10, "key")


def test_other_types() -> None:
    assert check_flag(False, "key") is False
    assert check_text("yolov5s", "key") == "yolov5s"
    assert check_list((1, 2), 1, 2, "key") == [1, 2]
    with pytest.raises(ModelError, match="key: must be true or false, not 1"):
        check_flag(1, "key")
    for text in ("", "x" * 201, "a\nb", 3, "\x1b[31m"):
        with pytest.raises(ModelError, match="key: must be a printable text"):
            check_text(text, "key")
    for values in ((), (1, 2, 3), "ab", {1: 2}, None):
        with pytest.raises(ModelError, match="key: must be a list of 1 to 2 entries"):
            check_list(values, 1, 2, "key")


def test_words_and_keys_name_the_nearest() -> None:
    assert check_word("SiLU", ("SiLU", "ReLU"), "key") == "SiLU"
    with pytest.raises(ModelError, match="did you mean 'SiLU'"):
        check_word("SiLUU", ("SiLU", "ReLU"), "key")
    with pytest.raises(ModelError, match="key: "):
        check_word(["SiLU"], ("SiLU",), "key")
    assert check_mapping({"nc": 1}, ("nc", "ch"), "file", optional=("ch",)) == {"nc": 1}
    with pytest.raises(ModelError, match="file: anchor: unknown key; did you mean 'anchors'"):
        check_mapping({"anchor": 1}, ("anchors",), "file")
    with pytest.raises(ModelError, match="file: the key 'ch' is missing"):
        check_mapping({"nc": 1}, ("nc", "ch"), "file")
    with pytest.raises(ModelError, match="file: must be a mapping"):
        check_mapping([1], ("nc",), "file")


def test_places_nest() -> None:
    with pytest.raises(ModelError) as caught:
        placed(lambda: check_integer(0, 1, 2, "repeats"), "m.yaml: row 3")
    assert str(caught.value) == "m.yaml: row 3: repeats: must be a whole number from 1 to 2, not 0"


def test_any_value_can_be_shown() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    for value in (HUGE, [HUGE], nested, "x" * 10**6, {"a": "b" * 10**6}):
        assert len(shown(value)) < 500
