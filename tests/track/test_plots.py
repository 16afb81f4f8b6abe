"""Curves of a run."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from vedette.track.events import EpochDone
from vedette.track.plots import PlotTracker


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


def test_curves_are_drawn_also_with_gaps(tmp_path: Path) -> None:
    history = tuple(_row(epoch) for epoch in range(6))
    tracker = PlotTracker(tmp_path / "plots")
    tracker.handle(EpochDone(60, history[-1], history, best=False))
    tracker.close()
    with Image.open(tmp_path / "plots" / "results.png") as picture:
        colours = picture.convert("RGB").getcolors(maxcolors=1 << 20)
        assert picture.size == (1320, 780)
    assert colours is not None
    assert len(colours) > 50, "an empty canvas has hardly any colours"


def test_a_run_without_epochs_draws_nothing(tmp_path: Path) -> None:
    PlotTracker(tmp_path / "plots").close()
    assert not (tmp_path / "plots").exists()
