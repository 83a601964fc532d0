"""A survey for people: lines of text, and one picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from ase.units import GPa
from matplotlib.axes import Axes

from allegro_dist.data.faults import Fault
from allegro_dist.data.filters import energy_deviations
from allegro_dist.data.primitive import count_repeats
from allegro_dist.data.structure import Array
from allegro_dist.data.survey import NeighborCounts, Survey
from allegro_dist.drawing import MODEL, add_axes, new_figure, png
from allegro_dist.files import write_atomically

MOST_FORMULAS = 10


def lines(survey: Survey, neighbors: Sequence[NeighborCounts], faults: Sequence[Fault]) -> Iterator[str]:
    """Composition, ranges, neighbor counts, and what is probably wrong."""
    yield f"{len(survey.sources)} frames, {int(survey.num_atoms.sum())} atoms"
    totals = survey.compositions.sum(0).astype(int)
    yield "elements: " + ", ".join(f"{name} {count}" for name, count in zip(survey.symbols, totals, strict=True))
    formulas = Counter(survey.formulas).most_common()
    shown = ", ".join(f"{name} ({count})" for name, count in formulas[:MOST_FORMULAS])
    more = len(formulas) - MOST_FORMULAS
    yield f"formulas: {shown}" + (f", and {more} more" if more > 0 else "")
    yield ""
    yield f"{'':34} {'frames':>8} {'lowest':>12} {'median':>12} {'highest':>12}"
    for name, values in _ranges(survey):
        found = values[np.isfinite(values)]
        numbers = (found.min(), np.median(found), found.max()) if len(found) else ()
        yield f"{name:34} {len(found):8}" + "".join(f" {x:12.5g}" for x in numbers)
    yield ""
    for count in neighbors:
        low, high = np.percentile(count.per_atom, (0, 100))
        yield f"neighbors within {count.cutoff:g} A: {count.per_atom.mean():.1f} (from {low:.0f} to {high:.0f})"
    repeats = count_repeats(survey.sample)
    if repeats.frames:
        yield (
            f"{repeats.frames} of {len(survey.sample)} frames repeat a smaller cell: {repeats.atoms} atoms, where "
            f"{repeats.needed} say the same (`dataset build --primitive`)"
        )
    for fault in faults:
        yield ""
        yield f"WARNING, {fault.name}: {fault.finding}."
        yield f"    {fault.advice}."


def plot(survey: Survey, neighbors: Sequence[NeighborCounts], path: Path) -> None:
    """Histograms of energies, forces, sizes and densities, and neighbors per cutoff, as one PNG."""
    figure = new_figure(11, 6)
    axes = [add_axes(figure, 2, 3, number) for number in range(1, 7)]
    energies = survey.beyond_composition()
    _histogram(axes[0], energies, "energy beyond composition, eV/atom")
    _histogram(axes[1], survey.force_max, "largest force in a frame, eV/A")
    _histogram(axes[2], survey.num_atoms, "atoms in a frame")
    _histogram(axes[3], survey.densities * 1e3, "atoms per nm$^3$ (bulk)")
    _histogram(axes[4], survey.pressure / GPa, "pressure, GPa")
    cutoffs = [n.cutoff for n in neighbors]
    low, middle, high = (np.array([np.percentile(n.per_atom, q) for n in neighbors]) for q in (5, 50, 95))
    axes[5].plot(cutoffs, middle, "o-", color=MODEL)
    axes[5].fill_between(cutoffs, low, high, color=MODEL, alpha=0.25, linewidth=0)
    axes[5].set(xlabel="cutoff, A", ylabel="neighbors: median, 5 to 95 %")
    write_atomically(path, png(figure))


def _ranges(survey: Survey) -> list[tuple[str, Array]]:
    judged = ~survey.isolated
    deviations = np.full(len(judged), np.nan)
    deviations[judged] = energy_deviations(survey.compositions[judged], survey.energies[judged])
    deviations[np.isnan(survey.energies)] = np.nan
    return [
        ("atoms", survey.num_atoms),
        ("energy, eV/atom", survey.energies / survey.num_atoms),
        ("  beyond composition, eV/atom", survey.beyond_composition()),
        ("  in robust standard deviations", deviations),
        ("force, rms of components, eV/A", survey.force_rms),
        ("force, largest on an atom, eV/A", survey.force_max),
        ("pressure, GPa", survey.pressure / GPa),
        ("density, atoms/A^3", survey.densities),
    ]


def _histogram(axes: Axes, values: Array, label: str) -> None:
    found = values[np.isfinite(values)]
    axes.hist(found, bins=60, color=MODEL, log=len(found) > 0)
    axes.set(xlabel=label if len(found) else f"{label}: none", ylabel="frames")
