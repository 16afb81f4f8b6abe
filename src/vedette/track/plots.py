"""Curves of a run: losses, precision and recall, average precision, learning rate.

Drawn with matplotlib's object interface on an Agg canvas: no pyplot, no global state, no display.
Colours are Okabe and Ito's, which people with any kind of colour vision can tell apart; lines differ in style too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vedette.errors import MissingExtraError
from vedette.track.events import EpochDone, Event, Row, RunFinished

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", "-.", ":")

_PANELS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Training loss",
        "loss",
        (("train/box_loss", "box"), ("train/obj_loss", "obj"), ("train/cls_loss", "cls")),
    ),
    ("Average precision", "AP", (("metrics/mAP_0.5", "AP50"), ("metrics/mAP_0.5:0.95", "AP"))),
    ("At the best F1", "", (("metrics/precision", "precision"), ("metrics/recall", "recall"))),
    ("Learning rate", "lr", (("x/lr1", "weights"), ("x/lr2", "biases"))),
)


class PlotTracker:
    """Draws ``plots/results.png`` when a run ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._history: tuple[Row, ...] = ()

    def handle(self, event: Event) -> None:
        """Remember the history; draw it at the end."""
        if isinstance(event, EpochDone | RunFinished):
            self._history = event.history

    def close(self) -> None:
        """Draw what there is, also for a run that was interrupted."""
        if self._history:
            draw_results(self._history, self._folder / "results.png")


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure with an Agg canvas. Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "train", "drawing plots") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_results(history: Sequence[Row], path: Path) -> None:
    """Draw the curves of a run into a PNG file. Epochs are counted from 1, as on the console."""
    figure = new_figure(11, 6.5)
    for number, (title, unit, series) in enumerate(_PANELS):
        axes = figure.add_subplot(2, 2, number + 1)
        for column, (name, label) in enumerate(series):
            points = [
                (float(row["epoch"] or 0) + 1, row[name]) for row in history if row.get(name) is not None
            ]
            axes.plot(
                [point[0] for point in points],
                [point[1] for point in points],
                _STYLES[column],
                color=PALETTE[column],
                label=label,
                marker="." if len(points) < 15 else "",
                linewidth=1.8,
            )
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.set_xlabel("epoch")
        axes.set_ylabel(unit)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if "metrics" in series[0][0]:
            axes.set_ylim(0, 1)
        axes.legend(frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
