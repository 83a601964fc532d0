"""A page of results in one HTML file that needs nothing else: sections of text, tables and pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Protocol

from allegro_dist.files import write_atomically

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .4rem; }
p.lead { color: #555; margin: 0 0 1.2rem; }
p { max-width: 60rem; }
nav a { color: #1f5fa8; text-decoration: none; margin-right: 1.1rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem; }
table.numbers { width: auto; font-variant-numeric: tabular-nums; }
table.numbers td + td, table.numbers th + th { text-align: right; }
caption { text-align: left; color: #555; font-size: .9rem; padding: .2rem .7rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4; }
th { font-weight: 600; }
tr.section th { background: #f1f4f8; padding-top: .45rem; }
td.value { white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; }
td.note { color: #666; }
td.met { color: #2c7a3d; } td.missed { color: #b3261e; } td.met, td.missed { white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.2rem; }
figure { margin: 0 0 1rem; } figure.wide { grid-column: 1 / -1; }
img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="lead">$lead</p>
$contents
$body
</body>
</html>
""")


class Block(Protocol):
    """A piece of a page."""

    def html(self) -> str: ...


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str

    def html(self) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Table:
    """Names in the first column, figures in the others."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    def html(self) -> str:
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        lines = [_table_row("th", self.head), *(_table_row("td", row) for row in self.rows)]
        return f'<table class="numbers">{caption}\n' + "\n".join(lines) + "\n</table>"


@dataclass(frozen=True)
class Row:
    """A finding; `limit` is what was asked for, and `met` whether it was reached (None: nothing asked)."""

    section: str
    quantity: str
    value: str
    note: str = ""
    limit: str = ""
    met: bool | None = None


def below(section: str, quantity: str, value: float, limit: float, unit: str, note: str = "") -> Row:
    """A row for a figure that should stay below a limit of the same unit."""
    return Row(section, quantity, f"{value:.3g} {unit}", note, f"below {limit:g} {unit}", abs(value) < limit)


@dataclass(frozen=True)
class Findings:
    """A table of findings; rows of a section follow each other."""

    rows: Sequence[Row]

    def html(self) -> str:
        lines = []
        for name, part in groupby(self.rows, key=lambda row: row.section):
            lines.append(f'<tr class="section"><th colspan="4">{escape(name)}</th></tr>')
            lines += [_finding(row) for row in part]
        return "<table>\n" + "\n".join(lines) + "\n</table>"


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    png: bytes
    caption: str
    wide: bool = False

    def html(self) -> str:
        data = base64.b64encode(self.png).decode()
        style = ' class="wide"' if self.wide else ""
        caption = escape(self.caption)
        image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
        return f"<figure{style}>{image}<figcaption>{caption}</figcaption></figure>"


@dataclass(frozen=True)
class Pictures:
    """Pictures beside each other, as far as there is room."""

    pictures: Sequence[Picture]

    def html(self) -> str:
        return '<div class="pictures">\n' + _joined(self.pictures) + "\n</div>"


@dataclass(frozen=True)
class Section:
    """A heading, to which the page's contents link, and what stands below."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())

    def html(self) -> str:
        return f'<h2 id="{self.anchor}">{escape(self.title)}</h2>\n' + _joined(self.blocks)


def render_page(title: str, lead: str, blocks: Sequence[Block]) -> str:
    """The page as text."""
    sections = [block for block in blocks if isinstance(block, Section)]
    links = "".join(f'<a href="#{section.anchor}">{escape(section.title)}</a>' for section in sections)
    return PAGE.substitute(
        title=escape(title), lead=escape(lead), contents=f"<nav>{links}</nav>" if links else "", body=_joined(blocks)
    )


def write_page(path: Path, title: str, lead: str, blocks: Sequence[Block]) -> None:
    """Write the page; it appears complete or not at all."""
    write_atomically(path, render_page(title, lead, blocks))


def plain_table(rows: Sequence[Row]) -> str:
    """Findings for a terminal."""
    width = max(len(row.quantity) for row in rows)
    lines = []
    for name, part in groupby(rows, key=lambda row: row.section):
        lines.append(name)
        for row in part:
            mark = {True: "ok", False: "MISSED", None: ""}[row.met]
            lines.append(f"  {row.quantity:{width}}  {row.value:28} {row.limit} {mark}".rstrip())
    return "\n".join(lines)


def _joined(blocks: Iterable[Block]) -> str:
    return "\n".join(block.html() for block in blocks)


def _table_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _finding(row: Row) -> str:
    style = {True: "met", False: "missed", None: "note"}[row.met]
    mark = {True: "✓ ", False: "✗ ", None: ""}[row.met]
    return (
        f'<tr><td>{escape(row.quantity)}</td><td class="value">{escape(row.value)}</td>'
        f'<td class="{style}">{mark}{escape(row.limit)}</td><td class="note">{escape(row.note)}</td></tr>'
    )
