"""Every plot looks the same, and no name from outside breaks one."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

from vedette.core.colours import WHITE, contrast
from vedette.errors import MissingExtraError, WriteError
from vedette.track.figures import (
    INK,
    LINE_LOOKS,
    MUTED,
    add_legend,
    dress_axes,
    line_look,
    new_figure,
    save_figure,
    shown_names,
)


def test_lines_can_be_told_apart_without_colours_and_without_dashes() -> None:
    looks = [line_look(number) for number in range(LINE_LOOKS)]
    assert len({(look["color"], str(look["linestyle"])) for look in looks}) == LINE_LOOKS
    for first, second in itertools.pairwise(looks):
        assert first["color"] != second["color"]
        assert first["linestyle"] != second["linestyle"]


def test_text_is_legible_on_white() -> None:
    for colour in (INK, MUTED):
        red, green, blue = bytes.fromhex(colour[1:])
        assert contrast((red, green, blue), WHITE) >= 4.5


def test_names_no_font_has_letters_for_become_numbers() -> None:
    names = ["cat", "two\nlines", "\U000f0000", " ", "x" * 500, "größe"]
    shown = shown_names(names)
    assert shown[0] == "cat"
    assert shown[1] == "two\\u000alines"
    assert shown[2:4] == ["class 2", "class 3"]
    assert len(shown[4]) == 24
    assert shown[5] == "größe"


def test_a_figure_of_hostile_names_is_written_twice(tmp_path: Path) -> None:
    names = ["$\\frac{", "猫", "שלום", "مرحبا", "_hidden", "<b>&"]
    figure = new_figure(4, 3)
    axes = figure.add_subplot(1, 1, 1)
    dress_axes(axes, "title", "x", "y")
    handles = [axes.plot([0, 1], [number, 1], **line_look(number))[0] for number in range(len(names))]
    add_legend(figure, handles, shown_names(names), title="names", loc="outside right upper")
    path = save_figure(figure, tmp_path / "new" / "plot.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "&lt;b&gt;" in path.with_suffix(".svg").read_text(encoding="utf-8")


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(WriteError, match="cannot be written"):
        save_figure(new_figure(2, 2), tmp_path / "file" / "plot.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"vedette\[train\]"):
        new_figure(2, 2)
