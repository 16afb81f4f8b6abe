"""Pictures of a search: how the best result grew, and each hyperparameter against fitness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vedette.track.figures import (
    INK,
    LINE_COLOURS,
    MUTED,
    PAGE_WIDTH,
    SMALL_SIZE,
    dress_axes,
    new_figure,
    save_figure,
    whole_numbers,
)
from vedette.tune.space import Range

_COLUMNS = 5


def draw_search(folder: Path, trials: Sequence[Any], ranges: Mapping[str, Range]) -> tuple[Path, Path]:
    """Draw ``history.png`` and ``evolve.png`` (its published name) into ``folder``, each as SVG too.

    Args:
        folder: of the study.
        trials: those that ended, in order; at least one of them was not ended early.
        ranges: what was searched.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    pruned = [trial for trial in trials if trial.state.name == "PRUNED" and trial.value is not None]
    return (
        _draw_history(folder / "history.png", complete, pruned),
        _draw_slices(folder / "evolve.png", complete, ranges),
    )


def _draw_history(path: Path, complete: Sequence[Any], pruned: Sequence[Any]) -> Path:
    figure = new_figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    dress_axes(axes, "Fitness of the trials", "trial", "0.1 AP50 + 0.9 AP")
    numbers, values = [trial.number for trial in complete], [trial.value for trial in complete]
    best = [max(values[: count + 1]) for count in range(len(values))]
    axes.plot(numbers, best, color=LINE_COLOURS[1], drawstyle="steps-post", label="best so far")
    axes.plot(numbers, values, "o", color=LINE_COLOURS[0], markersize=4, label="finished")
    if pruned:
        lasts = [trial.number for trial in pruned], [trial.value for trial in pruned]
        axes.plot(*lasts, "x", color=INK, markersize=5, label="ended early, last value")
    whole_numbers(axes.xaxis)
    axes.legend(fontsize=SMALL_SIZE, frameon=False)
    return save_figure(figure, path)


def _draw_slices(path: Path, complete: Sequence[Any], ranges: Mapping[str, Range]) -> Path:
    """One small plot a hyperparameter; later trials are darker, the best one is marked."""
    columns = min(len(ranges), _COLUMNS)
    rows = math.ceil(len(ranges) / columns)
    figure = new_figure(PAGE_WIDTH * columns / _COLUMNS + 0.6, 1.7 * rows)
    best = max(complete, key=lambda trial: trial.value)
    for place, (name, limits) in enumerate(ranges.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        known = [trial for trial in complete if name in trial.params]
        dress_axes(axes, "")
        axes.scatter(
            [trial.params[name] for trial in known],
            [trial.value for trial in known],
            c=[trial.number for trial in known],
            cmap="Blues",
            edgecolors=MUTED,
            linewidths=0.5,
            s=14,
        )
        if name in best.params:
            axes.plot(best.params[name], best.value, "+", color=LINE_COLOURS[1], markersize=12)
            axes.set_title(f"{name} = {best.params[name]:.4g}", loc="left", fontsize=SMALL_SIZE, color=INK)
        if limits.logarithmic:
            axes.set_xscale("log")
        axes.tick_params(labelsize=SMALL_SIZE - 2)
    return save_figure(figure, path)
