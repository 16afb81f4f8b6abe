"""The page is one file, holds its pictures, and shows hostile names as text. What a browser makes of it: tests/flow."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from vedette.errors import WriteError
from vedette.track.report import Picture, Section, Table, build_report, write_report

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HOSTILE = "\"'><img src=x onerror=alert(1)></script><script>alert(2)</script>"


def _hostile_page(folder: Path) -> str:
    picture = folder / "a.png"
    picture.write_bytes(PIXEL)
    section = Section(
        HOSTILE,
        HOSTILE,
        [
            Table([HOSTILE, "n"], [[HOSTILE, 1]], HOSTILE, ["", "d"]),
            Table([HOSTILE], [[HOSTILE]], HOSTILE, folded=True),
        ],
        [Picture(picture, HOSTILE, HOSTILE), Picture(folder / "gone<b>.png", HOSTILE)],
        warnings=[HOSTILE],
    )
    return build_report(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], [section])


def test_names_are_escaped_and_pictures_embedded(tmp_path: Path) -> None:
    page = _hostile_page(tmp_path)
    assert HOSTILE not in page
    assert page.count("<img") == 1
    assert page.count("<script>") == 1
    assert "gone&lt;b&gt;.png cannot be shown" in page
    assert base64.b64encode(PIXEL).decode() in page


def test_nothing_is_asked_for_from_elsewhere(tmp_path: Path) -> None:
    page = _hostile_page(tmp_path)
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)


def test_cells_carry_numbers_to_sort_by() -> None:
    table = Table(["class", "AP", "boxes"], [["a", 0.25, 1200], ["b", None, 3]], "", ["", ".1%", ",d"])
    page = build_report("t", "s", [], [Section("By class", tables=[table])])
    assert "<table data-sortable>" in page
    assert '<td class="number" data-value="0.25">25.0%</td>' in page
    assert '<td class="number" data-value="1200.0">1,200</td>' in page
    assert '<td class="number">–</td>' in page
    assert '<th scope="row">a</th>' in page


def test_an_empty_section_is_left_out() -> None:
    page = build_report("t", "s", [], [Section("Empty", "text"), Section("Full", warnings=["w"])])
    assert "Empty" not in page
    assert '<a href="#full">Full</a>' in page
    assert 'id="full"' in page


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, "old")
    write_report(path, "a file name that is not UTF-8: \udcff")
    assert path.read_text(encoding="utf-8") == "a file name that is not UTF-8: \\udcff"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(WriteError, match="cannot be written"):
        write_report(path / "below", "new")
