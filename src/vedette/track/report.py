"""``report.html``: a run on one page that opens without a server, its pictures inside the file."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_PICTURE_BYTES = 8_000_000

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: .2rem; } h2 { margin-top: 2.2rem; font-size: 1.2rem; }
p { max-width: 48rem; } figure { margin: 1rem 0; } figcaption { font-size: .9rem; opacity: .75; }
img { max-width: 100%; height: auto; border-radius: 6px; background: #fff; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.grid figure { margin: 0; }
.tiles { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }
.tile { background: var(--soft); border-radius: 8px; padding: .6rem 1rem; min-width: 7rem; }
.tile b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with text, a table and pictures, each optional."""

    title: str
    text: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    pictures: Sequence[tuple[Path, str]] = ()
    """(file, caption); a file that is missing, too large or no picture is named instead of shown."""


def build_report(
    title: str, summary: str, tiles: Sequence[tuple[str, str]], sections: Sequence[Section]
) -> str:
    """The page as text. Everything that came from outside (names, paths) is escaped; no scripts, no links."""
    body = [f"<h1>{_text(title)}</h1>", f"<p>{_text(summary)}</p>", '<div class="tiles">']
    body += [f'<div class="tile"><b>{_text(value)}</b>{_text(name)}</div>' for name, value in tiles]
    body.append("</div>")
    for section in sections:
        body += _section(section)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>",
            "",
        ]
    )


def write_report(path: Path, page: str) -> None:
    """Put the page in place as a whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page, encoding="utf-8", newline="\n")
    partial.replace(path)


def _section(section: Section) -> list[str]:
    parts = [f"<h2>{_text(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{_text(section.text)}</p>")
    if section.rows:
        parts.append('<div class="scroll"><table>')
        if section.header:
            parts.append("<tr>" + "".join(f"<th>{_text(cell)}</th>" for cell in section.header) + "</tr>")
        parts += [
            "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in section.rows
        ]
        parts.append("</table></div>")
    if section.pictures:
        grid = ' class="grid"' if len(section.pictures) > 1 else ""
        parts.append(f"<div{grid}>")
        parts += [_figure(path, caption) for path, caption in section.pictures]
        parts.append("</div>")
    return parts


def _figure(path: Path, caption: str) -> str:
    kinds = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
    kind = kinds.get(path.suffix.lower())
    if kind is None or not path.is_file() or path.stat().st_size > MAX_PICTURE_BYTES:
        return (
            f"<figure><figcaption>{_text(caption)}: {_text(path.name)} cannot be shown</figcaption></figure>"
        )
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    shown = _text(caption)
    return f'<figure><img alt="{shown}" src="data:{kind};base64,{data}"><figcaption>{shown}</figcaption></figure>'


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
