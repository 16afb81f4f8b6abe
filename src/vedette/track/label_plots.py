"""What a data set's boxes are like: how many of each class, where, how large; and whether the anchors fit them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vedette.core.colours import class_colour, hexadecimal
from vedette.core.types import IntArray
from vedette.model.anchors import measure_anchors
from vedette.track.figures import (
    INK,
    LINE_COLOURS,
    LINE_STYLES,
    MUTED,
    PAGE_WIDTH,
    SHADES,
    SMALL_SIZE,
    TEXT_SIZE,
    add_legend,
    dress_axes,
    name_text,
    new_figure,
    save_figure,
    shown_names,
    whole_numbers,
)

Float64Array = NDArray[np.float64]

MAX_BARS: Final = 100
"""Classes that get a bar; of more, the most frequent do."""

_BINS = 50
_FEWEST_BARS = 10  # room for so many, so that bars of few classes are no blocks
_OUTLINES = 500
_SIDES = ("x", "y", "width", "height")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """The boxes of a split, M of n pictures.

    Attributes:
        class_names: by class id.
        class_ids: int64 [M].
        boxes_cxcywh_rel: float64 [M, 4], parts of the picture's width and height.
        boxes_per_picture: int64 [n].
    """

    class_names: tuple[str, ...]
    class_ids: IntArray
    boxes_cxcywh_rel: Float64Array
    boxes_per_picture: IntArray


def label_statistics(
    class_names: Sequence[str],
    class_ids: IntArray,
    boxes_xyxy_px: Float64Array,
    sizes_hw: NDArray[np.integer],
    boxes_per_picture: IntArray,
) -> LabelStatistics:
    """Make boxes relative to their pictures.

    Args:
        class_names: by class id.
        class_ids: int64 [M].
        boxes_xyxy_px: float64 [M, 4], in the order of the pictures.
        sizes_hw: int [n, 2].
        boxes_per_picture: int64 [n], M in all.
    """
    height_width = np.repeat(sizes_hw.astype(np.float64), boxes_per_picture, axis=0)
    scale = height_width[:, [1, 0]]
    low, high = boxes_xyxy_px[:, :2] / scale, boxes_xyxy_px[:, 2:] / scale
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    return LabelStatistics(tuple(class_names), class_ids, boxes, boxes_per_picture)


def draw_labels(statistics: LabelStatistics, path: Path) -> Path:
    """Boxes of every class, outlines, where centres lie, sizes, boxes per picture; as PNG and SVG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    bars = min(len(statistics.class_names), MAX_BARS)
    figure = new_figure(1.35 * PAGE_WIDTH, max(5.4, 0.125 * bars + 0.9))
    grid = figure.add_gridspec(2, 3, width_ratios=(1.05, 1, 1))
    _draw_class_counts(figure.add_subplot(grid[:, 0]), statistics)
    _draw_outlines(figure.add_subplot(grid[0, 1]), statistics)
    axes = figure.add_subplot(grid[0, 2])
    boxes = statistics.boxes_cxcywh_rel
    _draw_density(axes, boxes[:, 0], boxes[:, 1])
    dress_axes(axes, "Centres of boxes", "x", "y", grid=False)
    axes.invert_yaxis()
    axes = figure.add_subplot(grid[1, 1])
    _draw_density(axes, boxes[:, 2], boxes[:, 3])
    dress_axes(axes, "Sizes of boxes", "width", "height", grid=False)
    _draw_boxes_per_picture(figure.add_subplot(grid[1, 2]), statistics)
    return save_figure(figure, path)


def draw_labels_correlogram(statistics: LabelStatistics, path: Path) -> Path:
    """Every pair of x, y, width and height as a density, and each alone as a histogram; as PNG and SVG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    figure = new_figure(PAGE_WIDTH, PAGE_WIDTH)
    boxes = statistics.boxes_cxcywh_rel
    for row, vertical in enumerate(_SIDES):
        for column, horizontal in enumerate(_SIDES[: row + 1]):
            axes = figure.add_subplot(4, 4, 4 * row + column + 1)
            if row == column:
                axes.hist(boxes[:, row], bins=_BINS, range=(0, 1), color=LINE_COLOURS[0])
            else:
                _draw_density(axes, boxes[:, column], boxes[:, row])
            dress_axes(
                axes,
                "",
                horizontal if row == len(_SIDES) - 1 else "",
                (vertical if row else "boxes") if column == 0 else "",
                grid=False,
            )
            axes.set_xlim(0, 1)
    title = "Boxes of the training split: centre and size, as parts of the picture"
    figure.suptitle(title, x=0.01, ha="left", fontsize=TEXT_SIZE, color=INK)
    return save_figure(figure, path)


def draw_anchors(
    sizes_wh_px: Float64Array,
    anchors_px: Sequence[Sequence[tuple[float, float]]],
    strides: Sequence[int],
    ratio_threshold: float,
    path: Path,
) -> Path:
    """Sizes of boxes, the anchors of each level, and which sizes some anchor may answer for; as PNG and SVG.

    Args:
        sizes_wh_px: float64 [M, 2], widths and heights in pixels of the frame, > 0.
        anchors_px: per level pairs of width and height in pixels of the frame.
        strides: of the levels.
        ratio_threshold: sides may differ by less than this factor.
        path: the PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        WriteError: a file cannot be written.
    """
    from matplotlib.patches import Rectangle

    figure = new_figure(0.7 * PAGE_WIDTH, 0.78 * PAGE_WIDTH)
    axes = figure.add_subplot(1, 1, 1)
    flat = np.array([size for level in anchors_px for size in level], dtype=np.float64)
    low, high = _limits(np.concatenate([sizes_wh_px, flat]))
    _draw_log_density(axes, figure, sizes_wh_px, low, high)
    handles, names = [], []
    for number, (level, stride) in enumerate(zip(anchors_px, strides, strict=True)):
        colour, style = LINE_COLOURS[(number + 1) % 6], LINE_STYLES[number % 4]
        for width, height in level:
            corner = (width / ratio_threshold, height / ratio_threshold)
            sides = tuple(
                ratio_threshold * side - start for side, start in zip((width, height), corner, strict=True)
            )
            axes.add_patch(
                Rectangle(corner, *sides, fill=False, edgecolor=colour, linestyle=style, linewidth=0.9)
            )
        handles += axes.plot(
            *zip(*level, strict=True),
            linestyle="",
            marker=_MARKERS[number % len(_MARKERS)],
            color=colour,
            markeredgecolor="black",
            markersize=8,
        )
        names.append(f"anchors of stride {stride}: " + ", ".join(f"{w:.0f}×{h:.0f}" for w, h in level))
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    dress_axes(axes, "Anchors and boxes", "width in pixels of the frame", "height in pixels of the frame")
    _plain_log_ticks(axes)
    axes.set_aspect("equal")
    add_legend(
        figure,
        handles,
        names,
        title=_fit_in_words(sizes_wh_px, flat, ratio_threshold),
        loc="outside lower center",
    )
    return save_figure(figure, path)


def _fit_in_words(sizes_wh_px: Float64Array, anchors_wh_px: Float64Array, threshold: float) -> str:
    if not len(sizes_wh_px):
        return "There are no boxes."
    fit = measure_anchors(sizes_wh_px, anchors_wh_px, threshold)
    return (
        f"Best possible recall {fit.best_possible_recall:.4f}; {fit.anchors_above_threshold:.2f} anchors a box\n"
        f"Frames: sizes whose sides differ from the anchor's by a factor below {threshold:g}"
    )


def _draw_class_counts(axes: Any, statistics: LabelStatistics) -> None:
    counts = np.bincount(statistics.class_ids, minlength=len(statistics.class_names))
    chosen = np.arange(len(counts))
    title = f"{counts.sum():,} boxes of {len(counts):,} classes"
    if len(counts) > MAX_BARS:
        chosen = np.sort(np.argsort(-counts, kind="stable")[:MAX_BARS])
        title += f", {MAX_BARS} most frequent"
    names = shown_names(statistics.class_names)
    size = float(np.clip(330 / max(len(chosen), 1), 5.0, TEXT_SIZE))
    places = np.arange(len(chosen))
    colours = [hexadecimal(class_colour(int(number))) for number in chosen]
    axes.barh(places, counts[chosen], height=0.75, color=colours, edgecolor=MUTED, linewidth=0.4)
    most = int(counts.max(initial=0))
    for place, count in zip(places, counts[chosen], strict=True):
        axes.text(count + 0.01 * most, place, f"{count:,}", va="center", fontsize=size, color=INK)
    dress_axes(axes, title, "boxes", grid=False)
    axes.set_yticks(places, [names[number] for number in chosen], **name_text(size))
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.22 * max(most, 1)), ylim=(max(len(chosen), _FEWEST_BARS) - 0.4, -0.6))
    whole_numbers(axes.xaxis)
    axes.xaxis.set_major_locator(_few_ticks())


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, integer=True)


def _draw_outlines(axes: Any, statistics: LabelStatistics) -> None:
    """Evenly chosen boxes, all centred on one point."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    count = len(statistics.class_ids)
    chosen = np.unique(np.linspace(0, max(count - 1, 0), min(count, _OUTLINES)).round().astype(np.int64))
    patches = [
        Rectangle((-width / 2, -height / 2), width, height)
        for width, height in statistics.boxes_cxcywh_rel[chosen, 2:]
    ]
    edges = [hexadecimal(class_colour(int(number))) for number in statistics.class_ids[chosen]]
    axes.add_collection(
        PatchCollection(patches, facecolor="none", edgecolor=edges, linewidth=0.5, alpha=0.6, rasterized=True)
    )
    dress_axes(axes, "Outlines, centred", "width", "height", grid=False)
    axes.set(xlim=(-0.5, 0.5), ylim=(-0.5, 0.5))


def _draw_boxes_per_picture(axes: Any, statistics: LabelStatistics) -> None:
    counts = statistics.boxes_per_picture
    most = int(counts.max(initial=0))
    step = max(1, -(-(most + 1) // 30))
    axes.hist(
        counts,
        bins=np.arange(0, most + 1 + step, step) - 0.5,
        color=LINE_COLOURS[0],
        edgecolor="white",
        linewidth=0.4,
    )
    dress_axes(axes, "Boxes per picture", "boxes", "pictures", grid=False)
    whole_numbers(axes.xaxis)
    whole_numbers(axes.yaxis)


def _draw_density(axes: Any, x: Float64Array, y: Float64Array) -> None:
    """How many boxes lie where in the unit square; darker is more, on a root scale."""
    counts, _, _ = np.histogram2d(np.clip(x, 0, 1), np.clip(y, 0, 1), bins=_BINS, range=((0, 1), (0, 1)))
    axes.imshow(
        np.sqrt(counts.T),
        cmap=SHADES,
        origin="lower",
        extent=(0, 1, 0, 1),
        aspect="auto",
        interpolation="nearest",
    )


def _draw_log_density(axes: Any, figure: Any, sizes: Float64Array, low: float, high: float) -> None:
    from matplotlib.colors import LogNorm

    edges = np.geomspace(low, high, 71)
    counts, _, _ = np.histogram2d(sizes[:, 0], sizes[:, 1], bins=(edges, edges))
    shown = np.ma.masked_equal(counts.T, 0)
    norm = LogNorm(vmin=1, vmax=max(2.0, float(counts.max())))
    mesh = axes.pcolormesh(edges, edges, shown, cmap=SHADES, norm=norm, rasterized=True)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.046, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("boxes", fontsize=SMALL_SIZE, color=INK)
    bar.ax.tick_params(labelsize=SMALL_SIZE, color=MUTED)


def _limits(sizes: Float64Array) -> tuple[float, float]:
    return float(sizes.min()) / 1.6, float(sizes.max()) * 1.6


def _plain_log_ticks(axes: Any) -> None:
    """10, 20, 50, 100 instead of powers of ten."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(NullFormatter())
