"""A one-page HTML report with a table and pictures, in one file that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from string import Template

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; color: #222; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
p.lead { color: #555; margin: 0 0 1.2rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .7rem; border-bottom: 1px solid #e4e4e4; }
th { font-weight: 600; }
tr.section th { background: #f1f4f8; padding-top: .45rem; }
td.value { white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; }
td.note { color: #666; }
td.met { color: #2c7a3d; } td.missed { color: #b3261e; } td.met, td.missed { white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(24rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; } figure.wide { grid-column: 1 / -1; }
img { max-width: 100%; } figcaption { color: #555; font-size: .9rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="lead">$lead</p>
<table>
$rows
</table>
<div class="pictures">
$pictures
</div>
</body>
</html>
""")


@dataclass(frozen=True)
class Row:
    """One line of the table; `limit` is what was asked for, and `met` whether it was reached (None: nothing asked)."""

    section: str
    quantity: str
    value: str
    note: str = ""
    limit: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Picture:
    """A PNG and what it shows."""

    png: bytes
    caption: str
    wide: bool = False


def below(section: str, quantity: str, value: float, limit: float, unit: str, note: str = "") -> Row:
    """A row for a figure that should stay below a limit of the same unit."""
    return Row(section, quantity, f"{value:.3g} {unit}", note, f"below {limit:g} {unit}", abs(value) < limit)


def render_report(title: str, lead: str, rows: Sequence[Row], pictures: Sequence[Picture]) -> str:
    """The page as text; rows of a section must follow each other."""
    return PAGE.substitute(
        title=escape(title),
        lead=escape(lead),
        rows="\n".join(_section(name, list(part)) for name, part in groupby(rows, key=lambda row: row.section)),
        pictures="\n".join(_picture(picture) for picture in pictures),
    )


def write_report(path: Path, title: str, lead: str, rows: Sequence[Row], pictures: Sequence[Picture]) -> None:
    """Write the page; it appears complete or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(render_report(title, lead, rows, pictures), encoding="utf-8")
    part.replace(path)


def plain_table(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    width = max(len(row.quantity) for row in rows)
    lines = []
    for name, part in groupby(rows, key=lambda row: row.section):
        lines.append(name)
        for row in part:
            mark = {True: "ok", False: "MISSED", None: ""}[row.met]
            lines.append(f"  {row.quantity:{width}}  {row.value:28} {row.limit} {mark}".rstrip())
    return "\n".join(lines)


def _section(name: str, rows: Sequence[Row]) -> str:
    head = f'<tr class="section"><th colspan="4">{escape(name)}</th></tr>'
    return "\n".join([head, *(_row(row) for row in rows)])


def _row(row: Row) -> str:
    style = {True: "met", False: "missed", None: "note"}[row.met]
    mark = {True: "✓ ", False: "✗ ", None: ""}[row.met]
    return (
        f'<tr><td>{escape(row.quantity)}</td><td class="value">{escape(row.value)}</td>'
        f'<td class="{style}">{mark}{escape(row.limit)}</td><td class="note">{escape(row.note)}</td></tr>'
    )


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    style = ' class="wide"' if picture.wide else ""
    caption = escape(picture.caption)
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    return f"<figure{style}>{image}<figcaption>{caption}</figcaption></figure>"
