"""Tables for people, in a terminal and as Markdown."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable


class Table(NamedTuple):
    """A title, column headings, and rows of as many cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def show(self) -> None:
        """Print it; as Markdown where there is no terminal to fit it to."""
        console = Console()
        if console.is_terminal:
            console.print(self._rich(box.SIMPLE_HEAD))
        else:
            print(self.markdown())

    def markdown(self) -> str:
        text = io.StringIO()
        Console(file=text, width=10_000).print(self._rich(box.MARKDOWN))
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        return "\n".join([self.title, "", *(line for line in lines if line), ""])

    def _rich(self, style: box.Box) -> RichTable:
        table = RichTable(box=style, title=self.title if style is not box.MARKDOWN else None, title_justify="left")
        for number, name in enumerate(self.columns):
            table.add_column(escape(name), justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table
