"""Curves and the confusion matrix of an evaluation, fit for a paper and readable with any kind of colour vision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vedette.evaluate.confusion import ConfusionMatrix
from vedette.evaluate.packed import Float64Array
from vedette.evaluate.result import ClassResult, Evaluation
from vedette.track.figures import (
    INK,
    MUTED,
    PAGE_WIDTH,
    SHADES,
    SMALL_SIZE,
    TEXT_SIZE,
    TITLE_SIZE,
    add_legend,
    dress_axes,
    line_look,
    name_text,
    new_figure,
    save_figure,
    shown_names,
)

MAX_NAMED_LINES = 20
"""Up to so many classes each get a line of their own look; of more, only the weakest do."""

WEAKEST = 6
CELLS_WITH_TEXT = 100
"""Up to so many classes the cells of a confusion matrix carry their counts."""

_LETTER_WIDTH = 0.62  # of a digit, in font sizes

CURVES = ("f1", "precision", "recall")


def draw_all(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw every plot into a folder, which is created.

    Returns:
        The PNG files; beside each lies an SVG file of the same name.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    jobs: dict[str, Callable[[Path], None]] = {
        "precision_recall_curve.png": lambda path: draw_precision_recall(evaluation, path),
        "confusion_matrix.png": lambda path: draw_confusion_matrix(evaluation.confusion, path),
    }
    for curve in CURVES:
        jobs[f"{curve}_curve.png"] = lambda path, curve=curve: draw_confidence_curve(  # type: ignore[misc]
            evaluation, curve, path
        )
    for name, job in jobs.items():
        job(folder / name)
    return [folder / name for name in jobs]


def draw_precision_recall(evaluation: Evaluation, path: Path) -> None:
    """Precision over recall at IoU 0.5 of every class with true boxes, and their mean."""
    curves = evaluation.curves
    shown = [result for result in evaluation.per_class if result.ap50 is not None]
    _draw_lines(
        path,
        curves.recall_levels,
        curves.precision_at_recall[[result.class_id for result in shown]],
        shown,
        _Words(
            title="Precision and recall (IoU 0.5)",
            x="recall",
            y="precision",
            legend="AP50",
            values=[f"{result.ap50:.3f}" for result in shown],
            mean=_number(evaluation.numbers["ap50"]),
        ),
    )


def draw_confidence_curve(evaluation: Evaluation, curve: str, path: Path) -> None:
    """F1, precision or recall (``curve``: one of ``CURVES``) over the score from which boxes count."""
    curves, point = evaluation.curves, evaluation.operating_point
    shown = [result for result in evaluation.per_class if result.ap50 is not None]
    title = {"f1": "F1", "precision": "Precision", "recall": "Recall"}[curve]
    quantity = title if curve == "f1" else curve
    values = [_number(getattr(result, curve)) for result in shown]
    scores = [_number(result.confidence, 2) for result in shown]
    _draw_lines(
        path,
        curves.confidence,
        getattr(curves, curve)[[result.class_id for result in shown]],
        shown,
        _Words(
            title=f"{title} by score (IoU 0.5)",
            x="lowest score that counts",
            y=quantity,
            legend=f"{quantity} at the score of the best F1",
            values=[f"{value} at {score}" for value, score in zip(values, scores, strict=True)],
            mean=f"{_number(getattr(point, curve))} at {_number(point.confidence, 2)}",
            mark=point.confidence,
        ),
    )


def draw_confusion_matrix(confusion: ConfusionMatrix, path: Path) -> None:
    """Rows are true classes, columns predicted ones. Colour: share of the row; figures: boxes."""
    shares, counts = confusion.normalised(), confusion.counts
    names = [*shown_names(confusion.class_names), confusion.axis_names[-1]]
    side = len(names)
    inches = float(np.clip(0.34 * side + 1.8, 4.4, 15.0))
    figure = new_figure(inches + 0.8, inches)
    axes = figure.add_subplot(1, 1, 1)
    picture = axes.imshow(shares, cmap=SHADES, vmin=0.0, vmax=1.0, aspect="equal", interpolation="nearest")
    cell_points = 72 * 0.8 * inches / side
    if side <= CELLS_WITH_TEXT + 1:
        _write_cells(axes, counts, shares, cell_points)
    letters, step = _letters_that_fit(cell_points)
    for set_ticks, turn in ((axes.set_xticks, {"rotation": 90}), (axes.set_yticks, {})):
        set_ticks(range(0, side, step), names[::step], color=INK, **turn, **name_text(letters))
    axes.tick_params(length=0)
    axes.spines[:].set_color(MUTED)
    # The background is no class: a line sets it apart.
    for draw_line in (axes.axhline, axes.axvline):
        draw_line(side - 1.5, color=INK, linewidth=0.8)
    axes.set_xlabel("predicted class", fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel("true class", fontsize=TEXT_SIZE, color=INK)
    axes.set_title("Confusion matrix", loc="left", fontsize=TITLE_SIZE, fontweight="bold", color=INK)
    limits = f"score > {confusion.confidence:g}, IoU > {confusion.iou_threshold:g}"
    axes.set_title(limits, loc="right", fontsize=SMALL_SIZE, color=INK)
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL_SIZE, color=MUTED)
    bar.set_label("share of the true class; figures are boxes", fontsize=SMALL_SIZE, color=INK)
    save_figure(figure, path)


def _letters_that_fit(cell_points: float) -> tuple[float, int]:
    """Font size of the names, and of how many cells one is named."""
    return min(TEXT_SIZE, max(4.0, 0.62 * cell_points)), math.ceil(4.0 / cell_points)


def _write_cells(axes: Any, counts: Any, shares: Float64Array, cell_points: float) -> None:
    """The counts, as large as the longest of them allows; in roomy cells the share below."""
    roomy = cell_points >= 28
    longest = max(2, len(str(int(counts.max()))))
    size = float(np.clip(0.88 * cell_points / (_LETTER_WIDTH * longest), 2.0, TEXT_SIZE))
    for (row, column), count in np.ndenumerate(counts):
        if count == 0:
            continue
        share = shares[row, column]
        text = f"{count}\n{share:.0%}" if roomy and row < len(counts) - 1 else f"{count}"
        colour = "white" if share > 0.55 else INK
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour, linespacing=1.1)


@dataclass(frozen=True, slots=True)
class _Words:
    """What is written beside lines; ``mark``: a place on the x axis to point out."""

    title: str
    x: str
    y: str
    legend: str
    values: Sequence[str]
    mean: str
    mark: float | None = None


def _draw_lines(
    path: Path, x: Float64Array, lines: Float64Array, shown: Sequence[ClassResult], words: _Words
) -> None:
    """Lines [K, G] of K classes over x [G], and their mean, with a legend beside them."""
    figure = new_figure(PAGE_WIDTH, 3.9)
    axes = figure.add_subplot(1, 1, 1)
    many = len(shown) > MAX_NAMED_LINES
    named = list(range(len(shown)))
    if many:
        named = sorted(named, key=lambda number: shown[number].ap50 or 0.0)[:WEAKEST]
    handles, labels = [], []
    for number in set(range(len(shown))) - set(named):
        axes.plot(x, lines[number], color="0.75", linewidth=0.6)
    names = shown_names([result.name for result in shown])
    for look, number in enumerate(named):
        handles += axes.plot(x, lines[number], **line_look(look))
        labels.append(f"{words.values[number]}  {names[number]}")
    if len(shown) > 1:
        handles[:0] = axes.plot(x, _mean(lines), color="black", linewidth=2.6)
        labels[:0] = [f"{words.mean}  mean of {len(shown)} classes"]
    if words.mark is not None:
        axes.axvline(words.mark, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    dress_axes(axes, words.title, words.x, words.y)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    if handles:
        heading = f"{words.legend},\nthe {WEAKEST} weakest in colour" if many else words.legend
        add_legend(figure, handles, labels, title=heading, loc="outside right upper")
    save_figure(figure, path)


def _mean(lines: Float64Array) -> Float64Array:
    """Mean over the classes that are defined at each place, [G]."""
    known = ~np.isnan(lines)
    total = np.where(known, lines, 0.0).sum(axis=0)
    mean: Float64Array = np.divide(
        total, known.sum(axis=0), out=np.full(lines.shape[1], np.nan), where=known.any(axis=0)
    )
    return mean


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
