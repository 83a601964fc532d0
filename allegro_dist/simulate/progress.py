"""What a simulation shows while LAMMPS is busy: step, speed and time left, from a thread that looks at the step."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

INTERVAL, LINE_INTERVAL = 0.5, 10.0
"""Seconds between looks on a terminal, and between lines elsewhere."""
DAY = 86_400.0


class Speed(NamedTuple):
    """How fast a stage goes."""

    nanoseconds_per_day: float
    atom_steps_per_second: float
    seconds_left: float


def speed(steps: int, seconds: float, num_left: int, num_atoms: int, timestep: float) -> Speed:
    """Of so many steps in so many seconds; timestep in ps."""
    rate = steps / seconds
    return Speed(rate * timestep * 1e-3 * DAY, rate * num_atoms, num_left / rate)


def describe(stage: str, done: int, total: int, s: Speed | None) -> str:
    """One line."""
    line = f"stage {stage}  {done:,} of {total:,} steps"
    if s is None:
        return line
    hours, rest = divmod(int(s.seconds_left), 3600)
    left = f"{hours}:{rest // 60:02}:{rest % 60:02}"
    return f"{line}  {s.nanoseconds_per_day:.3g} ns/day  {s.atom_steps_per_second:,.0f} atom-steps/s  {left} left"


class Progress:
    """Shows lines on stderr, on the rank that is to show them."""

    def __init__(self, *, shown: bool) -> None:
        self.shown, self.is_terminal = shown, sys.stderr.isatty()
        self.thread: threading.Thread | None = None
        self.over = threading.Event()
        self.name = ""

    def stage(
        self, name: str, total: int, step: Callable[[], int], first: int, num_atoms: int, timestep: float
    ) -> None:
        """A stage begins, or goes on; `step` tells the present one, from another thread, too."""
        if not self.shown or name == self.name:
            return
        self.close()
        self.name = name
        self.over.clear()
        self.thread = threading.Thread(
            target=self._watch, args=(name, total, step, first, num_atoms, timestep), daemon=True
        )
        self.thread.start()

    def close(self) -> None:
        """Stop looking."""
        self.over.set()
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def _watch(
        self, name: str, total: int, step: Callable[[], int], first: int, num_atoms: int, timestep: float
    ) -> None:
        begin, begin_step = time.monotonic(), step()
        while not self.over.wait(INTERVAL if self.is_terminal else LINE_INTERVAL):
            self._show(name, total, step() - first, step() - begin_step, time.monotonic() - begin, num_atoms, timestep)
        self._show(name, total, step() - first, step() - begin_step, time.monotonic() - begin, num_atoms, timestep)
        if self.is_terminal:
            print(file=sys.stderr)

    def _show(
        self, name: str, total: int, done: int, steps: int, seconds: float, num_atoms: int, timestep: float
    ) -> None:
        found = speed(steps, seconds, total - done, num_atoms, timestep) if steps > 0 else None
        line = describe(name, done, total, found)
        print(
            f"\r\x1b[K{line}" if self.is_terminal else line,
            end="" if self.is_terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
