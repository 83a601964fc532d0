"""Section: radial distribution functions and coordination numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from allegro_dist.analysis.pairs import PairDistribution, pair_distributions, reach
from allegro_dist.drawing import MODEL, QUIET, add_axes, new_figure, png
from allegro_dist.report.page import Picture, Section, Table
from allegro_dist.report.part import LeftOut, Part

MOST_FRAMES, MOST_ATOMS = 100, 200_000
"""Frames, and atoms in all of them, that are looked at; evenly chosen."""


def pairs_part(frames: Sequence[Atoms], stage: str, r_max: float) -> Part:
    """Curves and table of every pair of types."""
    if not frames:
        raise LeftOut(f"stage {stage} has no frame (trajectory.every)")
    if not all(frames[0].pbc):
        raise LeftOut("no cell: a mean density needs one that is periodic in all directions")
    number = max(1, min(len(frames), MOST_FRAMES, MOST_ATOMS // len(frames[0])))
    chosen = [frames[i] for i in np.linspace(0, len(frames) - 1, number).round().astype(int)]
    pairs = pair_distributions(chosen, min(reach(atoms, r_max) for atoms in chosen))
    if not pairs:
        raise LeftOut("no pairs: there is one atom")
    head = ("pair", "first peak, Å", "g there", "first minimum, Å", "coordination up to there")
    caption = f"{number} frames; coordination: neighbors of the second type about an atom of the first"
    picture = Picture(_draw(pairs), "g(r); the dashed line is the first minimum.", wide=True)
    return Part(Section("Pairs", [Table(head, [_row(p) for p in pairs], caption), picture]), pairs)


def _row(pair: PairDistribution) -> tuple[str, ...]:
    name = f"{pair.center}-{pair.neighbor}"
    if pair.first_minimum is None:
        return name, "", "", "none within reach", ""
    shell = pair.distances < pair.first_minimum
    peak = int(pair.values[shell].argmax())
    return (name, f"{pair.distances[peak]:.2f}", f"{pair.values[peak]:.2f}", f"{pair.first_minimum:.2f}",
            str(pair.coordination))  # fmt: skip


def _draw(pairs: Sequence[PairDistribution]) -> bytes:
    pairs = [pair for pair in pairs if pair.center <= pair.neighbor]  # g(r) is the same both ways
    columns = min(3, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    figure = new_figure(9.0, 2.9 * rows)
    for number, pair in enumerate(pairs, 1):
        axes = add_axes(figure, rows, columns, number)
        axes.axhline(1.0, color=QUIET, linewidth=0.6)
        axes.plot(pair.distances, pair.values, color=MODEL, linewidth=1.0)
        if pair.first_minimum is not None:
            axes.axvline(pair.first_minimum, color=QUIET, linewidth=0.8, linestyle="--")
        axes.set(xlabel="r, Å", ylabel=f"g(r) {pair.center}-{pair.neighbor}", ylim=(0, None))
    return png(figure)
