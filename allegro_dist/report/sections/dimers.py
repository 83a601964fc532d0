"""Section: two atoms alone, down to where nuclei repel each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from allegro_dist.drawing import MODEL, QUIET, REFERENCE, add_axes, new_figure, png
from allegro_dist.report.dimers import DimerCurve
from allegro_dist.report.page import Picture, Pictures, Section, Table, Text
from allegro_dist.report.part import Part

SHALLOW = 1e-3
"""eV; what is less deep is no minimum."""


def dimer_part(curves: Sequence[DimerCurve]) -> Part:
    """A plot and a line of the table for each pair of types."""
    text = (
        "Energy of two atoms, less that of each alone. Data of condensed matter does not determine this curve: what "
        "counts is that it rises steeply below the shortest distance in the data, where atoms of a hot run may come. "
        + ("The models have the ZBL repulsion, which their curves should approach." if curves[0].zbl_in_model else
           "The models have no ZBL repulsion (model.zbl); its curve is drawn for comparison.")
    )  # fmt: skip
    head = ("pair", "shortest in data, Å", "energy there, eV", "minimum, Å", "depth, eV", "below the shortest distance")
    pictures = [Picture(_draw(c), f"{c.pair}: the well, and the repulsion.", wide=True) for c in curves]
    section = Section("Dimers", [Text(text), Table(head, [_row(c) for c in curves]), Pictures(pictures)])
    return Part(section, [_numbers(c) for c in curves])


def _numbers(c: DimerCurve) -> dict[str, object]:
    return vars(c) | {"hole": c.hole}


def _row(c: DimerCurve) -> tuple[str, ...]:
    """Of the table; a minimum counts where the data is."""
    shortest = c.shortest_in_data
    outside = c.distances >= (shortest or 0.0)
    lowest = int(np.where(outside, c.energy, np.inf).argmin())
    depth = -float(c.energy[lowest])
    minimum = (f"{c.distances[lowest]:.2f}", f"{depth:.3g}") if depth > SHALLOW else ("none", "")
    if shortest is None:
        return (c.pair, "none", "", *minimum, "")
    hole = "rises" if c.hole is None else f"falls to {c.hole[1]:.3g} eV at {c.hole[0]:.2f} Å: a hole"
    return (c.pair, f"{shortest:.2f}", f"{np.interp(shortest, c.distances, c.energy):.3g}", *minimum, hole)


def _draw(c: DimerCurve) -> bytes:
    figure = new_figure(9.0, 3.5)
    well, wall = add_axes(figure, 1, 2, 1), add_axes(figure, 1, 2, 2)
    depth = max(-float(c.energy.min()), 0.2)
    for axes in (well, wall):
        _curves(axes, c)
        axes.set(xlabel="distance, Å", ylabel="energy, eV")
    well.set(ylim=(-1.3 * depth, 2.5 * depth), xlim=(c.distances[0], c.distances[-1]))
    # symmetric logarithm, so that a hole shows, too
    wall.set_yscale("symlog", linthresh=1.0)
    wall.set(xlim=(c.distances[0], 0.6 * c.distances[-1]), ylim=(-max(1.0, 1.3 * depth), None))
    well.legend(frameon=False)
    return png(figure)


def _curves(axes: Axes, c: DimerCurve) -> None:
    for number, energies in enumerate(c.energies):
        axes.plot(c.distances, energies, color=MODEL, linewidth=1.3, label="model" if number == 0 else None,
                  alpha=1.0 if len(c.energies) == 1 else 0.6)  # fmt: skip
    if c.zbl is not None:
        label = "ZBL" if c.zbl_in_model else "ZBL (not in the model)"
        axes.plot(c.distances, c.zbl, color=REFERENCE, linewidth=1.1, linestyle="--", label=label)
    axes.axhline(0, color=QUIET, linewidth=0.6)
    if c.shortest_in_data is not None:
        axes.axvline(c.shortest_in_data, color=QUIET, linewidth=1.0, linestyle=":", label="shortest in the data")
