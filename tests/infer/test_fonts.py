"""Fonts are found for names, and texts are cut to the room there is."""

from __future__ import annotations

import pytest

from vedette.errors import UsageError
from vedette.infer.fonts import font_for, line_metrics, shortened


def test_names_with_letters_that_no_font_has_are_left_out() -> None:
    _, drawable = font_for(("cat", "\uf8f0\uf8f1"), "", 12)
    assert drawable == {"cat"}


@pytest.mark.parametrize("room", [0, 5, 40, 1000])
def test_a_text_fits_its_room(room: int) -> None:
    font, _ = font_for(("word",), "", 12)
    text = shortened("a rather long name", font, room)
    assert font.getlength(text) <= room
    assert text in ("", "a rather long name") or text.endswith("…")


def test_metrics_grow_with_the_size() -> None:
    small, large = (sum(line_metrics(font_for(("a",), "", size)[0], size)) for size in (10, 30))
    assert 10 <= small < large


def test_a_font_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.ttf"):
        font_for(("a",), "nowhere.ttf", 12)
