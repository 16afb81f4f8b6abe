import pytest

from vedette.checkpoint.strict_json import Fields, parse_json
from vedette.errors import CheckpointError


def test_plain_json_is_read():
    assert parse_json('{"a": [1, 2.5, null, true, "x"]}', "f", 100) == {"a": [1, 2.5, None, True, "x"]}
    assert parse_json(b"[]", "f", 100) == []


@pytest.mark.parametrize("text", ["{", '{"a": 1, "a": 2}', "Infinity", "[" * 60_000, b"\xff"])
def test_other_text_is_refused(text):
    with pytest.raises(CheckpointError, match="f: its metadata is not readable JSON"):
        parse_json(text, "f", 100_000)


def test_length_is_bounded():
    with pytest.raises(CheckpointError, match="has 101 bytes, more than 100"):
        parse_json(" " * 101, "f", 100)


def test_fields_take_what_fits():
    read = Fields.of({"n": 3, "x": 0.5, "t": "ab", "b": True, "l": [1, 2], "o": None}, "f", list("nxtblo"))
    assert (read.whole("n", 0, 3), read.number("n", 0, 3), read.number("x", 0, 1)) == (3, 3.0, 0.5)
    assert (read.text("t", 2), read.choice("t", ("ab", "c")), read.flag("b")) == ("ab", "ab", True)
    assert (read.whole_numbers("l", (1, 2), 0, 2), read.numbers("l", 2, 0, 2)) == ((1, 2), (1.0, 2.0))
    assert read.absent("o")
    assert not read.absent("n")


@pytest.mark.parametrize(
    "ask",
    [
        lambda read: read.whole("x", 0, 9),
        lambda read: read.whole("b", 0, 9),
        lambda read: read.whole("n", 0, 2),
        lambda read: read.number("b", 0, 9),
        lambda read: read.number("t", 0, 9),
        lambda read: read.text("n", 9),
        lambda read: read.text("t", 1),
        lambda read: read.choice("t", ("x",)),
        lambda read: read.choice("l", ("x",)),
        lambda read: read.flag("n"),
        lambda read: read.several("t", 0, 9),
        lambda read: read.several("l", 3, 9),
        lambda read: read.whole_numbers("l", (2, 2), 0, 1),
        lambda read: read.numbers("l", 3, 0, 9),
        lambda read: read.record("l", ()),
    ],
)
def test_fields_refuse_the_rest_by_name(ask):
    read = Fields.of({"n": 3, "x": 0.5, "t": "ab", "b": True, "l": [1, 2]}, "f", list("nxtbl"))
    with pytest.raises(CheckpointError, match=r"^f: [nxtbl]: must be"):
        ask(read)


def test_keys_are_exactly_those():
    with pytest.raises(CheckpointError, match="f: unknown key 'strids'; did you mean 'strides'"):
        Fields.of({"strids": 1}, "f", ["strides"])
    with pytest.raises(CheckpointError, match="f: strides: is missing"):
        Fields.of({}, "f", ["strides"])
    with pytest.raises(CheckpointError, match="must be an object"):
        Fields.of([], "f", [])
