from __future__ import annotations

import collections
import contextlib
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vedette.checkpoint.legacy import opcodes
from vedette.checkpoint.legacy.opcodes import interpret
from vedette.checkpoint.legacy.records import Name, Record, mapping_of
from vedette.errors import CheckpointError

_KEYS = st.text(max_size=5) | st.integers(-(2**31), 2**31 - 1) | st.booleans() | st.none()
_SCALARS = (
    _KEYS
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False)
    | st.tuples(_KEYS, _KEYS, _KEYS, _KEYS)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=30,
)


@given(_VALUES)
def test_plain_values_are_those_of_the_standard_unpickler(value: Any) -> None:
    data = pickle.dumps(value, protocol=2)
    assert interpret(b"ab" + data, 2) == (value, len(data) + 2)


@given(st.binary(max_size=60))
def test_nothing_but_a_refusal_comes_out_of_noise(noise: bytes) -> None:
    with contextlib.suppress(CheckpointError):
        interpret(b"\x80\x02" + noise)


class Thing:
    def __init__(self) -> None:
        self.text = "a"


def test_objects_are_inert_records() -> None:
    found, _ = interpret(pickle.dumps([Thing(), Thing, {1, 2}], protocol=2))
    assert isinstance(found, list)
    thing, kind, numbers = found
    assert isinstance(thing, Record)
    assert thing.target is kind
    assert isinstance(kind, Name)
    assert kind.path.endswith("test_opcodes.Thing")
    assert (thing.arguments, thing.state) == ((), {"text": "a"})
    assert isinstance(numbers, Record)
    assert (numbers.target.path, numbers.arguments) == ("__builtin__.set", ([1, 2],))


def test_ordered_dictionaries_hold_their_entries() -> None:
    found, _ = interpret(pickle.dumps(collections.OrderedDict(a=1, b=[2]), protocol=2))
    assert mapping_of(found) == {"a": 1, "b": [2]}


def test_persistent_ids_need_somebody_who_knows_them() -> None:
    data = b"\x80\x02K\x07Q."
    assert interpret(data, persistent=lambda identifier: ("found", identifier))[0] == ("found", 7)
    with pytest.raises(CheckpointError, match="where there is none"):
        interpret(data)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (b"", "ends too early"),
        (b"N.", "does not begin with its protocol"),
        (b"\x80\x04N.", "protocol 4"),
        (b"\x80\x02", "ends too early"),
        (b"\x80\x02.", "0 values are left"),
        (b"\x80\x02Kx0.", "0x30"),
        (b"\x80\x02K\x01K\x02a.", "appends to something"),
        (b"\x80\x02K\x01(e.", "appends to something"),
        (b"\x80\x02]e.", "no beginning"),
        (b"\x80\x02]K\x01K\x02s.", "no dictionary"),
        (b"\x80\x02}(K\x01u.", "a key without a value"),
        (b"\x80\x02}]Ns.", "neither text nor a number"),
        (b"\x80\x02}))\x86Ns.", "neither text nor a number"),
        (b"\x80\x02K\x01)R.", "REDUCE without"),
        (b"\x80\x02ca\nb\nK\x01R.", "REDUCE without"),
        (b"\x80\x02K\x01)\x81.", "NEWOBJ without"),
        (b"\x80\x02ca\nb\n)R}b}b.", "a state for something"),
        (b"\x80\x02ca\nb\n}b.", "a state for something"),
        (b"\x80\x02ccollections\nOrderedDict\nN\x85R.", "not made empty"),
        (b"\x80\x02c" + b"a" * 300 + b"\nb\n.", "a name without an end"),
        (b"\x80\x02ca\n\xff\n.", "not UTF-8"),
        (b"\x80\x02\x8a\x11" + b"\1" * 17 + b".", "a number of 17 bytes"),
        (b"\x80\x02N(\x85.", "a value that is not there"),
        (b"\x80\x02(q\x00.", "changes a value that is not there"),
    ],
)
def test_refusals(code: bytes, expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected):
        interpret(code)


def test_the_number_of_instructions_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    code = b"\x80\x02]" + b"Na" * 10 + b"."
    assert interpret(code)[0] == [None] * 10
    monkeypatch.setattr(opcodes, "MAX_OPCODES", 20)
    with pytest.raises(CheckpointError, match="more than 20 instructions"):
        interpret(code)
