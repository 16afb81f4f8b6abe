"""Curves of one run and of several."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from vedette.track.plots import draw_learning_rate, draw_results


def _row(epoch: int) -> dict[str, float | int | None]:
    measured = epoch % 2 == 1
    return {
        "epoch": epoch,
        "train/box_loss": 1 / (epoch + 1),
        "train/obj_loss": 0.5,
        "train/cls_loss": 0.1,
        "metrics/mAP_0.5": 0.1 * epoch if measured else None,
        "metrics/mAP_0.5:0.95": None,
        "x/lr1": 0.01,
        "x/lr2": 0.01,
    }


def _colours(path: Path) -> int:
    with Image.open(path) as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 20)
    assert colours is not None
    return len(colours)


def test_curves_are_drawn_also_with_gaps(tmp_path: Path) -> None:
    path = draw_results({"run": [_row(epoch) for epoch in range(6)]}, tmp_path / "new" / "results.png")
    assert _colours(path) > 50, "an empty canvas has hardly any colours"
    text = path.with_suffix(".svg").read_text(encoding="utf-8")
    assert "AP50" in text
    assert "<!-- AP -->" not in text, "what was never measured has no line"


def test_several_runs_share_the_panels(tmp_path: Path) -> None:
    """Names of runs come from outside: formulas, other scripts, far too long ones."""
    names = ["plain", "$x_1$", "\U000f0000", "long" * 40, *map(str, range(9))]
    runs = {name: [_row(epoch) for epoch in range(number + 1)] for number, name in enumerate(names)}
    path = draw_results({**runs, "empty": []}, tmp_path / "compared.png")
    text = path.with_suffix(".svg").read_text(encoding="utf-8")
    assert "<!-- plain -->" in text
    assert "<!-- $x_1$ -->" in text
    assert "<!-- run 2 -->" in text, "no font has these letters"


def test_no_rows_are_no_error(tmp_path: Path) -> None:
    assert draw_results({"run": []}, tmp_path / "results.png").stat().st_size > 1000


def test_the_schedule_is_drawn(tmp_path: Path) -> None:
    path = draw_learning_rate(
        [0.0, 0.5, 1.0], [(0.0, 0.0, 0.1), (0.01,) * 3, (0.001,) * 3], [0.8, 0.9, 0.9], tmp_path / "rate.png"
    )
    assert _colours(path) > 50
