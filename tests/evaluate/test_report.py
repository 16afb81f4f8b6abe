"""The page of an evaluation, with and without pictures."""

from __future__ import annotations

from pathlib import Path

from tests.evaluate.measured_pictures import measured
from vedette.data.defects import Defect
from vedette.evaluate.report import defect_section, facts_table, headline, percent, write_evaluation_report
from vedette.track.report import build_report

NAMES = ("<script>alert(1)</script>", "dog & cat")


def test_the_page_shows_all_plots_and_pictures(tmp_path: Path) -> None:
    evaluation = measured(tmp_path, 4, NAMES)
    page = write_evaluation_report(evaluation, tmp_path, title="<b>", plots=True).read_text(encoding="utf-8")
    assert page.count("<img") == 4 + 1 + 2 + 2
    assert "cannot be shown" not in page
    assert NAMES[0] not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "of 4 true boxes 2 were found with their class, 2 were missed" in page


def test_without_plots_the_page_has_tables_only(tmp_path: Path) -> None:
    evaluation = measured(tmp_path, 4)
    page = write_evaluation_report(evaluation, tmp_path, title="t", plots=False).read_text(encoding="utf-8")
    assert "<img" not in page
    assert "By class" in page
    assert not (tmp_path / "plots").exists()


def test_headline_figures(tmp_path: Path) -> None:
    assert headline(measured(tmp_path, 2))[1] == ("AP50", "50.5 %")
    assert percent(None) == "–"


def test_defects_are_counted_and_listed() -> None:
    assert not defect_section([]).tables
    defects = [Defect("a.txt", line, "zero-size", "<i>") for line in (1, 2)] + [Defect("b", 0, "nan", "x")]
    page = build_report("t", "s", [], [defect_section(defects)])
    assert page.index("zero-size") < page.index("nan")
    assert "a.txt:2" in page
    assert "<i>" not in page


def test_facts_are_one_line_each() -> None:
    table = facts_table("c", [("a", {"x": [1, 2], "y": None}), ("b", "")])
    assert table.rows == [("a", "x: 1, 2, y: –"), ("b", "–")]
