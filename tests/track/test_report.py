"""The report is one file, holds its pictures, and shows hostile names as text."""

from __future__ import annotations

import base64
from pathlib import Path

from vedette.track.report import Section, build_report, write_report

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_names_are_escaped_and_pictures_embedded(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(PIXEL)
    hostile = "<img src=x onerror=alert(1)>"
    page = build_report(hostile, hostile, [(hostile, "1")], [Section(hostile, pictures=[(picture, hostile)])])
    assert hostile not in page
    assert base64.b64encode(PIXEL).decode() in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    page = build_report("t", "s", [], [Section("p", pictures=[(tmp_path / "gone.png", "curve")])])
    assert "gone.png cannot be shown" in page


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(path, "old")
    write_report(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [path]
