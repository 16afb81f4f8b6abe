from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.data.defects import KINDS, Defect, pack_defects, printable, quoted, unpack_defects


def test_kinds_have_an_effect_and_a_meaning() -> None:
    assert {kind.effect for kind in KINDS.values()} == {"row", "duplicate", "picture", "file", "kept", "note"}
    assert all(kind.meaning and not kind.meaning.endswith(".") for kind in KINDS.values())
    assert len(KINDS) > 38


def test_a_defect_is_one_line() -> None:
    defect = Defect("/a\nb.txt", 3, "nan", "x is '\x1b[31m'")
    assert str(defect) == "/a\\nb.txt:3: nan: x is '\\x1b[31m'"
    assert defect.to_json() == {"path": "/a\nb.txt", "line": 3, "kind": "nan", "text": "x is '\x1b[31m'"}
    assert str(Defect("a.txt", 0, "no-label-file", "used as background")).startswith("a.txt: no-label-file:")


def test_kinds_are_a_closed_set() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        Defect("a", 1, "odd", "text")


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(), max_size=20))
def test_any_text_becomes_printable_and_survives_packing(text: str) -> None:
    assert printable(text).isprintable()
    assert quoted(text, 5).isprintable()
    defects = (Defect(text, 1, "nan", text), Defect("b", 0, "utf-16", ""))
    assert unpack_defects(pack_defects(defects)) == defects
