"""The picture of a bench: where the time of each variant goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vedette.bench.timing import STAGES
from vedette.track import figures

if TYPE_CHECKING:
    from vedette.bench.run import BenchRow

_BAR_INCHES = 0.34
_MARGIN_INCHES = 1.1


def plot_bench(rows: Sequence[BenchRow], folder: Path) -> Path:
    """Draw ``bench.png`` and ``bench.svg``: medians of the stages, with the 95th percentile of the total.

    Returns the PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    timed = [row for row in rows if row.timing is not None]
    timed.sort(key=lambda row: row.timing.milliseconds["total"][1] if row.timing else 0.0, reverse=True)
    figure = figures.new_figure(figures.PAGE_WIDTH, _MARGIN_INCHES + _BAR_INCHES * max(len(timed), 1))
    axes = figure.add_subplot()
    figures.dress_axes(axes, "From bytes to boxes", "milliseconds a picture (median; line: 95th percentile)")
    left = [0.0] * len(timed)
    names = [row.variant.name for row in timed]
    for stage, colour in zip(STAGES[:-1], figures.LINE_COLOURS, strict=False):
        widths = [row.timing.milliseconds[stage][1] if row.timing else 0.0 for row in timed]
        axes.barh(names, widths, left=left, color=colour, label=stage, height=0.7)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    for place, row in enumerate(timed):
        if row.timing is not None:
            _, middle, high = row.timing.milliseconds["total"]
            axes.plot([left[place], max(high, left[place])], [place, place], color=figures.INK, linewidth=1)
            axes.annotate(
                f"{middle:.1f}",
                (max(high, left[place]), place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=figures.SMALL_SIZE,
            )
    axes.set_xlim(
        0, 1.1 * max((row.timing.milliseconds["total"][2] for row in timed if row.timing), default=1)
    )
    handles, labels = axes.get_legend_handles_labels()
    figures.add_legend(figure, handles, labels, loc="outside lower center", ncols=len(labels))
    return figures.save_figure(figure, folder / "bench.png")
