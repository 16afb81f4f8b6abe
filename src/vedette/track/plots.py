"""Curves of one run or of several: losses, precision and recall, average precision, learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vedette.track.events import Row
from vedette.track.figures import (
    INK,
    LINE_STYLES,
    PAGE_WIDTH,
    SMALL_SIZE,
    add_legend,
    dress_axes,
    line_look,
    new_figure,
    save_figure,
    shown_names,
    whole_numbers,
)

_LEGEND_COLUMNS = 3


@dataclass(frozen=True, slots=True)
class _Panel:
    """What one set of axes shows.

    Attributes:
        title: of the axes.
        series: columns of ``results.csv`` and their names in the legend.
        shares: values lie in 0..1.
        compared: with several runs show all quantities, else the first.
    """

    title: str
    series: tuple[tuple[str, str], ...]
    shares: bool = False
    compared: bool = True


_PANELS: Final = (
    _Panel("Box loss", (("train/box_loss", "training"), ("val/box_loss", "validation"))),
    _Panel("Objectness loss", (("train/obj_loss", "training"), ("val/obj_loss", "validation"))),
    _Panel("Class loss", (("train/cls_loss", "training"), ("val/cls_loss", "validation"))),
    _Panel(
        "Average precision",
        (("metrics/mAP_0.5:0.95", "AP"), ("metrics/mAP_0.5", "AP50")),
        shares=True,
    ),
    _Panel(
        "At the best F1",
        (("metrics/precision", "precision"), ("metrics/recall", "recall")),
        shares=True,
    ),
    _Panel(
        "Learning rate",
        (("x/lr1", "weights"), ("x/lr0", "normalization"), ("x/lr2", "biases")),
        compared=False,
    ),
)


def draw_results(runs: Mapping[str, Sequence[Row]], path: Path) -> Path:
    """Draw the curves of runs side by side, as PNG and SVG. Epochs are counted from 1, as on the console.

    With one run the lines of a panel differ in colour and dashes; with several the colour is the run's, the
    dashes are the quantity's. Epochs without a measurement are passed over.

    Args:
        runs: rows of ``results.csv`` by the name of the run; see :func:`vedette.track.files.read_results`.
        path: the PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    legend_rows = math.ceil(len(runs) / _LEGEND_COLUMNS) if len(runs) > 1 else 0
    figure = new_figure(PAGE_WIDTH, 4.6 + 0.2 * legend_rows)
    run_lines: list[Any] = []
    for place, panel in enumerate(_PANELS, start=1):
        axes = figure.add_subplot(2, 3, place)
        lines = _draw_panel(axes, panel, runs)
        run_lines = run_lines or lines
    if len(runs) > 1:
        add_legend(
            figure,
            run_lines,
            shown_names(list(runs), noun="run"),
            loc="outside upper left",
            ncols=_LEGEND_COLUMNS,
        )
    return save_figure(figure, path)


def draw_learning_rate(
    epochs: Sequence[float], rates: Sequence[Sequence[float]], momentum: Sequence[float], path: Path
) -> Path:
    """Draw the schedule of a run, warm-up included, as PNG and SVG.

    Args:
        epochs: places on the schedule in epochs, rising.
        rates: for each place the learning rates of the groups: normalization, weights, biases.
        momentum: for each place.
        path: the PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    figure = new_figure(PAGE_WIDTH, 2.4)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for look, (group, name) in enumerate(((1, "weights"), (0, "normalization"), (2, "biases"))):
        left.plot(epochs, [rate[group] for rate in rates], label=name, **line_look(look))
    dress_axes(left, "Learning rate", "epoch")
    left.set_ylim(bottom=0)
    _add_inner_legend(left)
    right.plot(epochs, momentum, **line_look(0))
    dress_axes(right, "Momentum", "epoch")
    right.set_ylim(top=1)
    return save_figure(figure, path)


def _draw_panel(axes: Any, panel: _Panel, runs: Mapping[str, Sequence[Row]]) -> list[Any]:
    """Returns the first quantity's line of every run."""
    first_lines: list[Any] = []
    known = [
        (column, label)
        for column, label in (panel.series if len(runs) == 1 or panel.compared else panel.series[:1])
        if any(row.get(column) is not None for history in runs.values() for row in history)
    ]
    for number, (column, label) in enumerate(known):
        for run, history in enumerate(runs.values()):
            points = [
                (float(row.get("epoch") or 0) + 1, row[column])
                for row in history
                if row.get(column) is not None
            ]
            look = line_look(number if len(runs) == 1 else run, points=len(points))
            if len(runs) > 1:
                look["linestyle"] = LINE_STYLES[number]
            lines = axes.plot(
                [point[0] for point in points], [point[1] for point in points], label=label, **look
            )
            first_lines += lines if number == 0 else []
    dress_axes(axes, panel.title, "epoch")
    whole_numbers(axes.xaxis)
    if panel.shares:
        axes.set_ylim(0, 1)
    elif known:
        axes.set_ylim(bottom=0)
    else:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", fontsize=SMALL_SIZE)
    if known:
        _add_series_legend(axes, known, several_runs=len(runs) > 1)
    return first_lines


def _add_series_legend(axes: Any, known: Sequence[tuple[str, str]], *, several_runs: bool) -> None:
    """Names of the quantities; in black where the colour means the run."""
    from matplotlib.lines import Line2D

    if not several_runs:
        _add_inner_legend(axes)
        return
    samples = [Line2D([], [], color=INK, linestyle=LINE_STYLES[number]) for number in range(len(known))]
    _add_inner_legend(axes, samples, [label for _, label in known])


def _add_inner_legend(axes: Any, *content: Any) -> None:
    axes.legend(*content, fontsize=SMALL_SIZE, framealpha=0.8, edgecolor="none", handlelength=2.4)
