import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vedette.core.printable import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name", "plain name"),
        ("два 物体", "два 物体"),
        ("a\nb", "a\\u000ab"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\x9b2J", "\\u009b2J"),
        ("\u202eevil", "\\u202eevil"),
        ("bad\udcffbyte", "bad\\udcffbyte"),
    ],
)
def test_controls_become_escapes(text, expected):
    assert printable(text) == expected


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(), max_size=30))
def test_result_is_one_line_and_can_be_encoded(text):
    result = printable(text)
    assert len(result.splitlines()) <= 1
    result.encode("utf-8")


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(), max_size=30))
def test_escapes_in_json_read_back_as_the_same_text(text):
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text
