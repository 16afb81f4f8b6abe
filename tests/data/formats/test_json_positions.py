from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.data.formats.json_positions import record_lines

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=80)
@given(
    st.lists(_json, max_size=6),
    st.dictionaries(st.text(max_size=3), _json, max_size=3),
    st.sampled_from([None, 2]),
)
def test_line_of_each_record(records: list[object], others: dict[str, object], indent: int | None) -> None:
    """A marker record after each record stands on the line that a plain search for it finds."""
    marked = [part for number, record in enumerate(records) for part in (record, f"marker-{number}\x07")]
    text = json.dumps({**others, "rows": marked, "z": others}, indent=indent)
    wanted = range(1, len(marked), 2)
    expected = {
        position: text[: text.index(json.dumps(marked[position]))].count("\n") + 1 for position in wanted
    }
    assert record_lines(text, "rows", wanted) == expected


def test_positions_beyond_the_list_and_other_types() -> None:
    assert record_lines('{"a": [1,\n2]}', "a", [1, 7]) == {1: 2}
    assert record_lines('{"a": {"a": [1]}}', "a", [0]) == {}
    assert record_lines("{}", "a", [0]) == {}
    assert record_lines('{"a": [1], "a": [\n2]}', "a", [0]) == {0: 2}
