"""The look of every plot, in one place: size, fonts, colours, lines, names of classes, files.

Plots are drawn with matplotlib's object interface on an Agg canvas: no pyplot, no global settings, no display.
A figure is as wide as a page of text (7.2 inches), its letters stay readable when it fills one column of two.
Every plot is written twice: PNG at 200 dots per inch, and SVG, in which letters are outlines and need no fonts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from vedette.core import colours
from vedette.core.printable import printable
from vedette.errors import MissingExtraError, WriteError

PAGE_WIDTH: Final = 7.2
"""Inches: the text width of a two-column page."""

INK: Final = "#222222"
MUTED: Final = "#767676"
SHADES: Final = "Blues"
"""Colour map of counts and shares: one hue, light to dark, so that it also survives a black-and-white printer."""

TITLE_SIZE: Final = 10.0
TEXT_SIZE: Final = 9.0
SMALL_SIZE: Final = 8.0
"""Points."""

LINE_COLOURS: Final = tuple(
    colours.hexadecimal(colour)
    for colour in (
        colours.BLUE,
        colours.VERMILION,
        colours.GREEN,
        colours.PURPLE,
        colours.ORANGE,
        colours.SKY,
    )
)
LINE_STYLES: Final[tuple[Any, ...]] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
LINE_LOOKS: Final = 24
"""Lines that can be told apart."""

_DOTS_PER_INCH = 200
_NAME_LENGTH = 24
_DOTS = 15  # up to so many points of a line are marked

_FAMILIES = (
    "DejaVu Sans",  # comes with matplotlib; has Latin, Greek, Cyrillic, Arabic, Hebrew and more
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
)


def new_figure(width: float, height: float) -> Any:
    """A white figure of so many inches. Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "train", "drawing plots") from None
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress_axes(axes: Any, title: str, x: str = "", y: str = "", *, grid: bool = True) -> None:
    """Title at the left, names of the axes, a faint grid, no box around."""
    axes.set_title(title, loc="left", fontsize=TITLE_SIZE, fontweight="bold", color=INK)
    axes.set_xlabel(x, fontsize=TEXT_SIZE, color=INK)
    axes.set_ylabel(y, fontsize=TEXT_SIZE, color=INK)
    axes.tick_params(labelsize=SMALL_SIZE, labelcolor=INK, color=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    if grid:
        axes.grid(color="#000000", alpha=0.12, linewidth=0.6)
        axes.set_axisbelow(True)


def line_look(number: int, *, points: int | None = None) -> dict[str, Any]:
    """Colour and dashes of a line, both different from the next one's; black is left to means.

    Args:
        number: which line; looks repeat after ``LINE_LOOKS``.
        points: of the line; a few of them are marked.
    """
    style = LINE_STYLES[(number + number // 12) % len(LINE_STYLES)]
    look = {"color": LINE_COLOURS[number % len(LINE_COLOURS)], "linestyle": style, "linewidth": 1.5}
    if points is not None and points <= _DOTS:
        look |= {"marker": "o", "markersize": 3}
    return look


def whole_numbers(axis: Any) -> None:
    """Ticks of an axis at whole numbers only, with thousands set apart."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:,.0f}"))


def shown_names(names: Sequence[str], noun: str = "class") -> list[str]:
    """Names as a plot can show them: one line, not too long, ``class 7`` where no font has the letters."""
    return [_shown_name(name, f"{noun} {number}") for number, name in enumerate(names)]


def name_text(size: float) -> dict[str, Any]:
    """Settings of a text that holds names from outside: fonts for many scripts, and ``$`` is no formula."""
    return {"fontsize": size, "fontfamily": list(_installed()), "parse_math": False}


def add_legend(parent: Any, handles: Sequence[Any], names: Sequence[str], **place: Any) -> Any:
    """A legend of names from outside, drawn as they are; ``place``: where, title, columns. Returns it."""
    legend = parent.legend(
        handles, names, frameon=False, handlelength=2.6, alignment="left", **{"fontsize": SMALL_SIZE, **place}
    )
    for text in legend.get_texts():
        text.set(**name_text(text.get_fontsize()))
    legend.get_title().set(fontsize=SMALL_SIZE, color=INK, multialignment="left")
    return legend


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure as PNG to ``path`` and as SVG beside it; the folder is created.

    Returns:
        ``path``.

    Raises:
        WriteError: a file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=_DOTS_PER_INCH)
        figure.set_layout_engine("none")  # everything lies where it should; measuring again costs time
        figure.savefig(path.with_suffix(".svg"), dpi=_DOTS_PER_INCH, metadata={"Date": None})
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror})", where=path) from None
    return path


def _shown_name(name: str, otherwise: str) -> str:
    text = printable(name)
    letters = frozenset[int]().union(*(_letters(family) for family in _installed()))
    drawable = all(ord(letter) in letters for letter in text) and (
        _shapes_text() or not _runs_leftwards(text)
    )
    if not text.strip() or not drawable:
        return otherwise
    return text if len(text) <= _NAME_LENGTH else text[: _NAME_LENGTH - 1] + "…"


def _runs_leftwards(text: str) -> bool:
    """Hebrew, Arabic and their relatives: letters that a renderer must order and join."""
    return any("\u0590" <= letter <= "\u08ff" or "\ufb1d" <= letter <= "\ufeff" for letter in text)


def _shapes_text() -> bool:
    """Whether matplotlib orders and joins letters; it does since 3.11."""
    import matplotlib

    return bool(matplotlib.__version_info__ >= (3, 11))


@functools.lru_cache(maxsize=1)
def _installed() -> tuple[str, ...]:
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    return tuple(family for family in _FAMILIES if family in known)


@functools.lru_cache(maxsize=len(_FAMILIES))
def _letters(family: str) -> frozenset[int]:
    """The code points a font has signs for."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties(family=family))).get_charmap())
