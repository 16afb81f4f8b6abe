"""Curves and confusion matrices as PNG files, fit for a paper and readable with any kind of colour vision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vedette.errors import WriteError
from vedette.evaluate.confusion import ConfusionMatrix
from vedette.evaluate.packed import Float64Array
from vedette.evaluate.result import ClassResult, Evaluation
from vedette.infer.printable import printable
from vedette.track.plots import PALETTE, new_figure

MAX_NAMED_LINES = 20
"""Up to so many classes each get a line of their own look; of more, only the weakest do."""

WEAKEST = 6
MAX_CELL_TEXT = 25
"""Up to so many classes the cells of a confusion matrix carry their figures."""

_STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
_DOTS_PER_INCH = 200
_WIDEST_PIXELS = 2000
_NAME_LENGTH = 24
_FONT = "DejaVu Sans"  # comes with matplotlib

CURVES = ("f1", "precision", "recall")


def draw_all(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw every plot into a folder, which is created.

    Returns:
        The files.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    jobs: dict[str, Callable[[Path], None]] = {
        "precision_recall.png": lambda path: draw_precision_recall(evaluation, path),
        "confusion_matrix.png": lambda path: draw_confusion_matrix(evaluation.confusion, path),
        "confusion_matrix_normalised.png": lambda path: draw_confusion_matrix(
            evaluation.confusion, path, normalised=True
        ),
    }
    for curve in CURVES:
        jobs[f"{curve}_confidence.png"] = lambda path, curve=curve: draw_confidence_curve(  # type: ignore[misc]
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
        {
            "title": "Precision and recall (IoU 0.5)",
            "x": "recall",
            "y": "precision",
            "legend": "AP50",
            "values": [f"{result.ap50:.3f}" for result in shown],
            "mean": f"{_number(evaluation.numbers['ap50'])}",
        },
    )


def draw_confidence_curve(evaluation: Evaluation, curve: str, path: Path) -> None:
    """F1, precision or recall (``curve``: one of ``CURVES``) over the score from which boxes count."""
    curves, point = evaluation.curves, evaluation.operating_point
    shown = [result for result in evaluation.per_class if result.ap50 is not None]
    title = {"f1": "F1", "precision": "Precision", "recall": "Recall"}[curve]
    values = [_number(getattr(result, curve)) for result in shown]
    scores = [_number(result.confidence, 2) for result in shown]
    _draw_lines(
        path,
        curves.confidence,
        getattr(curves, curve)[[result.class_id for result in shown]],
        shown,
        {
            "title": f"{title} by score (IoU 0.5)",
            "x": "lowest score that counts",
            "y": title if curve == "f1" else curve,
            "legend": f"{title if curve == 'f1' else curve} @ score of the best F1",
            "values": [f"{value} @ {score}" for value, score in zip(values, scores, strict=True)],
            "mean": f"{_number(getattr(point, curve))} @ {_number(point.confidence, 2)}",
            "mark": point.confidence,
        },
    )


def draw_confusion_matrix(confusion: ConfusionMatrix, path: Path, *, normalised: bool = False) -> None:
    """Rows are true classes, columns predicted ones; counts, or parts of each row."""
    values = confusion.normalised() if normalised else confusion.counts.astype(np.float64)
    names = [
        *(_drawable(name, number) for number, name in enumerate(confusion.class_names)),
        confusion.axis_names[-1],
    ]
    side = len(names)
    inches = float(np.clip(0.42 * side + 2.0, 5.0, 14.0))
    figure = new_figure(inches + 0.5, inches)
    from matplotlib.colors import PowerNorm
    from matplotlib.ticker import MaxNLocator

    axes = figure.add_subplot(1, 1, 1)
    # The colours of counts follow the square root, so that small counts show beside large ones.
    norm = PowerNorm(1.0 if normalised else 0.5, vmin=0, vmax=1 if normalised else max(values.max(), 1.0))
    picture = axes.imshow(values, cmap="Blues", norm=norm, aspect="equal", interpolation="nearest")
    if side <= MAX_CELL_TEXT + 1:
        _write_cells(axes, values, np.asarray(norm(values)), "{:.2f}" if normalised else "{:.0f}")
    row_points = 72 * 0.82 * inches / side
    size, step = min(9.0, max(4.0, 0.62 * row_points)), int(np.ceil(4.0 / row_points))
    axes.set_xticks(range(0, side, step), names[::step], rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(0, side, step), names[::step], fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    # The background is no class: a line sets it apart.
    for draw_line in (axes.axhline, axes.axvline):
        draw_line(side - 1.5, color="black", linewidth=0.8)
    axes.set_xlabel("predicted class", fontsize=11)
    axes.set_ylabel("true class", fontsize=11)
    title = "Confusion matrix, part of each true class" if normalised else "Confusion matrix, boxes"
    axes.set_title(
        f"{title}\nscore > {confusion.confidence:g}, IoU > {confusion.iou_threshold:g}",
        loc="left",
        fontsize=11,
    )
    bar = figure.colorbar(
        picture, ax=axes, fraction=0.046, pad=0.02, ticks=MaxNLocator(5, integer=not normalised)
    )
    bar.outline.set_visible(False)
    _save(figure, path)


def _write_cells(axes: Any, values: Float64Array, shade: Float64Array, form: str) -> None:
    size = 9 if len(values) <= 12 else 6.5
    for (row, column), value in np.ndenumerate(values):
        text = form.format(value)
        if float(text) == 0.0 or (row == column == len(values) - 1):
            continue
        colour = "white" if shade[row, column] > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def _draw_lines(
    path: Path, x: Float64Array, lines: Float64Array, shown: Sequence[ClassResult], words: dict[str, Any]
) -> None:
    """Lines [K, G] of K classes over x [G], and their mean, with a legend beside them."""
    figure = new_figure(7.6, 4.4)
    axes = figure.add_subplot(1, 1, 1)
    many = len(shown) > MAX_NAMED_LINES
    named = range(len(shown))
    if many:
        named = sorted(named, key=lambda number: shown[number].ap50 or 0.0)[:WEAKEST]  # type: ignore[assignment]
    handles, labels = [], []
    for number in set(range(len(shown))) - set(named):
        axes.plot(x, lines[number], color="0.75", linewidth=0.6)
    for look, number in enumerate(named):
        handles += axes.plot(x, lines[number], linewidth=1.3, **_line_look(look))
        name = _drawable(shown[number].name, shown[number].class_id)
        labels.append(f"{words['values'][number]}  {name}")
    if len(shown) > 1:
        mean = _mean(lines)
        handles[:0] = axes.plot(x, mean, color="black", linewidth=2.6)
        labels[:0] = [f"{words['mean']}  mean of {len(shown)} classes"]
    if words.get("mark") is not None:
        axes.axvline(words["mark"], color="0.4", linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=words["x"], ylabel=words["y"])
    axes.set_title(words["title"], loc="left", fontsize=11, fontweight="bold")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if handles:
        heading = f"{words['legend']}, the {WEAKEST} weakest in colour" if many else words["legend"]
        legend = figure.legend(
            handles,
            labels,
            title=heading,
            loc="outside right upper",
            frameon=False,
            fontsize=8,
            handlelength=2.8,
        )
        legend.set_title(heading, prop={"size": 8})
        legend.get_title().set_multialignment("left")
        legend.set_alignment("left")
        for text in legend.get_texts():
            text.set_parse_math(False)
    _save(figure, path)


def _line_look(number: int) -> dict[str, Any]:
    """Colour and dashes, both different from those of the next line; 24 distinct looks. Black is for the mean."""
    colours = PALETTE[:6]
    style = _STYLES[(number + number // 12) % len(_STYLES)]
    return {"color": colours[number % len(colours)], "linestyle": style}


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


def _drawable(name: str, class_id: int) -> str:
    """The name on one line and not too long; the class number where the font lacks its letters."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    glyphs = get_font(findfont(FontProperties(family=_FONT))).get_charmap()
    text = printable(name)
    if not text.strip() or any(ord(letter) not in glyphs for letter in text):
        return f"class {class_id}"
    return text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1] + "…"


def _save(figure: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=min(_DOTS_PER_INCH, _WIDEST_PIXELS / figure.get_figwidth()))
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror})", where=path) from None
