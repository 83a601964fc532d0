"""What all pictures share: colours, axes, PNG bytes; made without pyplot: nothing global, no display."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

MODEL, REFERENCE, QUIET = "#1f5fa8", "#d9761a", "0.6"
MAX_DRAWN = 5000
"""Points of a plot."""


def new_figure(width: float = 4.6, height: float = 3.4) -> Figure:
    """An empty figure, inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def new_axes(width: float = 4.6, height: float = 3.4) -> tuple[Figure, Axes]:
    """A figure of one panel."""
    figure = new_figure(width, height)
    return figure, add_axes(figure)


def add_axes(figure: Figure, rows: int = 1, columns: int = 1, number: int = 1) -> Axes:
    """Panel `number`, counted from 1, of a grid."""
    axes = figure.add_subplot(rows, columns, number)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def logarithmic(axes: Axes, *names: str) -> None:
    """Make axes "x" or "y" logarithmic, labelled at 1, 2 and 5 of a decade, whatever their range."""
    for name in names:
        axis = axes.xaxis if name == "x" else axes.yaxis
        axes.set(**{f"{name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def by_lot(values: NDArray[Any]) -> NDArray[Any]:
    """The rows [N, ..] to draw, in their order: all, or MAX_DRAWN of them by lot, always the same."""
    if len(values) <= MAX_DRAWN:
        return values
    return values[np.sort(np.random.default_rng(0).choice(len(values), MAX_DRAWN, replace=False))]


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
