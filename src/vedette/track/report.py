"""A page that opens without a server: one HTML file with its pictures inside, for screens, paper and screen readers.

Everything that came from outside (names, paths, messages) is escaped. The page asks for nothing: its policy
forbids every request and every script but the one below, which is named by its hash; without it, tables merely
cannot be sorted.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from vedette.errors import WriteError

MAX_PICTURE_BYTES = 8_000_000

_KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the page.

    Attributes:
        path: the file; one that is missing, too large or no picture is named instead of shown.
        caption: below it.
        description: what it shows, for those who do not see it; "": the caption says it.
        wide: it fills the page; others stand side by side where there is room.
    """

    path: Path
    caption: str
    description: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; numbers are given as numbers and a form, so that they can be sorted.

    Attributes:
        header: names of the columns.
        rows: cells; the first of a row names it. None is shown as a dash.
        caption: what the table says, for screen readers and above it.
        forms: format specification of each column, such as ``.1%``, "" for text; with it the table can be sorted.
        folded: shown on request only.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""
    forms: Sequence[str] = ()
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with text, warnings, tables and pictures; one without any of the last three is not shown."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    warnings: Sequence[str] = ()


def build_report(
    title: str, summary: str, tiles: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> str:
    """The page as text; ``tiles`` are names and values of the headline figures. Empty sections are left out."""
    shown = [section for section in sections if section.tables or section.pictures or section.warnings]
    links = [f'<li><a href="#{_anchor(section.title)}">{_text(section.title)}</a></li>' for section in shown]
    body = [f"<header><h1>{_text(title)}</h1>", f"<p>{_text(summary)}</p></header>"]
    body += ['<dl class="tiles">']
    body += [f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in tiles]
    body += ["</dl>", '<nav aria-label="Sections"><ul>', *links, "</ul></nav>", "<main>"]
    for section in shown:
        body += _section(section)
    style, script = _resource("report.css"), _resource("report.js")
    script_hash = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',
            f"<title>{_text(title)}</title><style>{style}</style></head><body>",
            *body,
            "</main>",
            f"<script>{script}</script></body></html>",
            "",
        ]
    )


def write_report(path: Path, page: str) -> None:
    """Put the page in place as a whole. Raises WriteError."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace", newline="\n")
        partial.replace(path)
    except OSError as error:
        raise WriteError(f"cannot be written ({error.strerror})", where=path) from None


def _resource(name: str) -> str:
    return (files("vedette.track") / "page" / name).read_text(encoding="utf-8")


def _section(section: Section) -> list[str]:
    anchor = _anchor(section.title)
    parts = [f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{_text(section.title)}</h2>']
    if section.text:
        parts.append(f"<p>{_text(section.text)}</p>")
    if section.warnings:
        parts.append('<ul class="warnings">')
        parts += [f"<li>{_text(warning)}</li>" for warning in section.warnings]
        parts.append("</ul>")
    for table in section.tables:
        parts += _table(table)
    if section.pictures:
        parts.append('<div class="grid">')
        parts += [_figure(picture) for picture in section.pictures]
        parts.append("</div>")
    return [*parts, "</section>"]


def _table(table: Table) -> list[str]:
    name = _text(table.caption or table.header[0])
    sortable = " data-sortable" if table.forms and len(table.rows) > 1 else ""
    parts = [f"<details><summary>{name}</summary>"] if table.folded else []
    parts.append(f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table{sortable}>')
    if table.caption and not table.folded:
        parts.append(f"<caption>{name}</caption>")
    parts.append(
        "<thead><tr>"
        + "".join(f'<th scope="col">{_text(cell)}</th>' for cell in table.header)
        + "</tr></thead>"
    )
    parts.append("<tbody>")
    parts += ["<tr>" + "".join(_cells(row, table.forms)) + "</tr>" for row in table.rows]
    parts.append("</tbody></table></div>")
    return [*parts, "</details>"] if table.folded else parts


def _cells(row: Sequence[object], forms: Sequence[str]) -> list[str]:
    cells = []
    for number, value in enumerate(row):
        form = forms[number] if number < len(forms) else ""
        shown = "–" if value is None else format(value, form) if form else str(value)
        sortable = f' data-value="{float(value)!r}"' if isinstance(value, (int, float)) else ""
        kind = ' class="number"' if form or isinstance(value, (int, float)) else ""
        opening = '<th scope="row"' if number == 0 else "<td"
        cells.append(f"{opening}{kind}{sortable}>{_text(shown)}</{opening[1:3]}>")
    return cells


def _figure(picture: Picture) -> str:
    path, kind = picture.path, _KINDS.get(picture.path.suffix.lower())
    opening = '<figure class="wide">' if picture.wide else "<figure>"
    caption = f"<figcaption>{_text(picture.caption)} <small>{_text(path.name)}</small></figcaption>"
    if kind is None or not path.is_file() or path.stat().st_size > MAX_PICTURE_BYTES:
        return f"{opening}<p>{_text(path.name)} cannot be shown</p>{caption}</figure>"
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    alt = _text(picture.description or picture.caption)
    return f'{opening}<img alt="{alt}" src="data:{kind};base64,{data}">{caption}</figure>'


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
