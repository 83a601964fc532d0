"""What a run shows while it trains: a live display on a terminal, plain lines elsewhere, nothing on other ranks."""

from __future__ import annotations

import time
from typing import Any

from ase.units import GPa
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

LINE_INTERVAL = 5.0
"""Seconds between plain lines."""


class ProgressDisplay:
    """Use as a context manager; `update` after every step, `epoch` after every validation."""

    def __init__(self, *, shown: bool, console: Console | None = None) -> None:
        self.shown = shown
        self.console = console or Console(stderr=True)
        self.live: Live | None = None
        self.record: dict[str, Any] | None = None
        self.started = self.last_update = self.last_line = time.monotonic()
        self.start_progress: float | None = None

    def __enter__(self) -> ProgressDisplay:
        if self.shown and self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=4)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def message(self, text: str) -> None:
        """One line, above the display."""
        if self.shown:
            self.console.print(text, highlight=False, soft_wrap=True)

    def update(self, epoch: int, progress: float, learning_rate: float) -> None:
        """A step is done; `progress` is the share of the run."""
        now = time.monotonic()
        if self.start_progress is None:
            self.start_progress, self.started = progress, now
        if self.live is None or now - self.last_update < 0.25:
            return
        self.last_update = now
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(f"epoch {epoch}"), ProgressBar(total=1.0, completed=progress, width=40),
            f"{100 * progress:.0f} %", f"ETA {self._eta(progress)}", f"lr {learning_rate:.1e}",
        )  # fmt: skip
        self.live.update(Group(head, _errors_table(self.record)) if self.record else head)

    def epoch(self, record: dict[str, Any], progress: float) -> None:
        """An epoch is validated; `record` is its line of metrics.jsonl."""
        self.record = record
        now = time.monotonic()
        if not self.shown or self.live is not None or (now - self.last_line < LINE_INTERVAL and progress < 1):
            return
        self.last_line = now
        errors = record["val"]
        parts = [
            f"epoch {record['epoch']}",
            f"{100 * progress:.0f} %",
            f"ETA {self._eta(progress)}",
            f"lr {record['lr']:.1e}",
        ]
        if "forces" in errors:
            parts.append(f"val force MAE {1e3 * errors['forces']['mae']:.1f} meV/A")
        if "energy_per_atom" in errors:
            parts.append(f"energy MAE {1e3 * errors['energy_per_atom']['mae']:.2f} meV/atom")
        self.message(", ".join(parts))

    def _eta(self, progress: float) -> str:
        done = progress - (self.start_progress or 0.0)
        if done <= 0:
            return "?"
        seconds = round((time.monotonic() - self.started) / done * (1.0 - progress))
        hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _errors_table(record: dict[str, Any]) -> Table:
    """MAE and RMSE of training and validation, in meV units (stress in GPa)."""
    table = Table(box=None, padding=(0, 2))
    for title in ("", "train MAE", "val MAE", "val RMSE"):
        table.add_column(title, justify="right")
    for name, label, unit in (
        ("energy_per_atom", "energy, meV/atom", 1e3),
        ("forces", "forces, meV/A", 1e3),
        ("stress", "stress, GPa", 1 / GPa),
    ):
        train, val = record["train"].get(name), record["val"].get(name)
        if val:
            table.add_row(
                label,
                f"{unit * train['mae']:.2f}" if train else "",
                f"{unit * val['mae']:.2f}",
                f"{unit * val['rmse']:.2f}",
            )
    return table
