"""``results.txt`` looks as published, to the character."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import GOLDEN
from vedette.track.events import EpochDone, LengthChanged, RunStarted
from vedette.track.results_text import ResultsText, results_line

CASES = json.loads((GOLDEN / "training" / "24-training-misc.json").read_text(encoding="utf-8"))["cases"]
PUBLISHED = next(case for case in CASES if case["id"] == "T24.1")["expected"]["results_txt"]


def _row(epoch: int, targets: int, measured: bool) -> dict[str, float | int | None]:
    names = ("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95")
    names += ("val/box_loss", "val/obj_loss", "val/cls_loss")
    values = (0.1, 0.2, 0.3, 0.4, 0.01, 0.02, 0.03) if measured else (None,) * 7
    losses = {"train/box_loss": 0.0, "train/obj_loss": 0.0, "train/cls_loss": 0.0}
    return {
        "epoch": epoch, **losses, **dict(zip(names, values, strict=True)),
        "targets": targets, "frame_width": 64, "gpu_gb": 0.0,
    }  # fmt: skip


def test_golden_rows(tmp_path: Path) -> None:
    """tests/golden/training/24-training-misc.json T24.1."""
    table = ResultsText(tmp_path / "results.txt")
    table.handle(RunStarted(tmp_path, {}, {}, {}, 3, 2, 0))
    history = tuple(_row(epoch, targets, epoch == 2) for epoch, targets in enumerate((12, 6, 4)))
    for epoch in range(3):
        table.handle(EpochDone(epoch, history[epoch], history[: epoch + 1], best=False))
    assert (tmp_path / "results.txt").read_text(encoding="ascii") == PUBLISHED


def test_numbers_as_published() -> None:
    row = {**_row(7, 1234, True), "train/box_loss": 0.123456, "train/obj_loss": 0.01, "gpu_gb": 12.3456}
    expected = "     7/299     12.3G    0.1235      0.01         0    0.1335      1234        64"
    assert results_line(row, 300).startswith(expected)


def test_a_changed_length_shows(tmp_path: Path) -> None:
    table = ResultsText(tmp_path / "results.txt")
    table.handle(RunStarted(tmp_path, {}, {}, {}, 300, 2, 0))
    table.handle(LengthChanged(2, 9, "time"))
    row = _row(0, 1, measured=False)
    table.handle(EpochDone(2, row, (row,), best=True))
    assert (tmp_path / "results.txt").read_text(encoding="ascii").split()[0] == "0/8"
