"""Section: a crystal's cell, equation of state, elastic constants and phonons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from allegro_dist.analysis.crystal import cubic_average
from allegro_dist.analysis.fits import EquationOfState
from allegro_dist.analysis.phonons import Phonons, Segment
from allegro_dist.drawing import MODEL, QUIET, REFERENCE, new_axes, new_figure, png
from allegro_dist.report.crystals import CrystalProperties
from allegro_dist.report.page import Block, Picture, Section, Table, Text
from allegro_dist.report.part import Part

VOIGT = ("xx", "yy", "zz", "yz", "xz", "xy")


def crystal_part(c: CrystalProperties) -> Part:
    """Whatever could be computed; what could not stands at the end."""
    blocks: list[Block] = []
    if c.cells:
        blocks.append(_quantities(c))
    if c.equations_of_state:
        blocks.append(Picture(draw_equations_of_state(c.equations_of_state, c.equation_of_data), _equation_caption(c)))
    if c.elastic:
        rows = [(name, *(_rounded(v, 1) for v in row)) for name, row in zip(VOIGT, _mean(c.elastic, "relaxed"))]
        blocks.append(Table(("GPa", *VOIGT), rows, "Elastic tensor, atoms relaxed"))
    if c.phonons:
        blocks.append(Picture(draw_phonons(c.phonons), _phonon_caption(c.phonons[0]), wide=True))
    blocks += [Text(f"{name.capitalize()}: left out: {reason}.") for name, reason in c.left_out.items()]
    return Part(Section(f"Crystal {Path(c.name).name}", blocks), c)


def draw_equations_of_state(
    curves: Sequence[EquationOfState], data: EquationOfState | None, names: tuple[str, str] = ("model", "data")
) -> bytes:
    """Energy over volume per atom, each curve above its own minimum, which is marked."""
    figure, axes = new_axes(6.0, 3.8)
    for number, e in enumerate(curves):
        axes.plot(e.volumes, 1e3 * (e.energies - e.energy), ".-", color=MODEL, linewidth=1.2, markersize=4,
                  alpha=0.7, label=names[0] if number == 0 else None)  # fmt: skip
        axes.axvline(e.volume, color=MODEL, linewidth=0.7, linestyle=":")
    if data is not None:
        axes.plot(data.volumes, 1e3 * (data.energies - data.energy), "o", color=REFERENCE, markersize=5,
                  fillstyle="none", label=names[1])  # fmt: skip
        axes.axvline(data.volume, color=REFERENCE, linewidth=0.7, linestyle=":")
    axes.set(xlabel="volume, Å³/atom", ylabel="energy above minimum, meV/atom")
    axes.legend(frameon=False)
    return png(figure)


def _caption(c: CrystalProperties) -> str:
    members = f"; mean of {len(c.cells)} models and their standard deviation" if len(c.cells) > 1 else ""
    return f"{c.formula} at rest, zero pressure{members}"


def _quantities(c: CrystalProperties) -> Table:
    """All numbers; in a third column the equation of state of the data's own frames, where there are enough."""
    rows = [*_cell_rows(c), *_equation_rows(c), *_elastic_rows(c), *_phonon_rows(c)]
    if c.equation_of_data is None:
        return Table(("", "model"), [row[:2] for row in rows], _caption(c))
    return Table(("", "model", "data"), [(*row, "")[:3] for row in rows], _caption(c))


def _cell_rows(c: CrystalProperties) -> list[tuple[str, ...]]:
    cells = np.array(c.cells)
    return [
        ("a, b, c, Å", ", ".join(_spread(cells[:, k], 4) for k in range(3))),
        ("angles, degrees", ", ".join(_spread(cells[:, k], 2) for k in range(3, 6))),
    ]


def _equation_rows(c: CrystalProperties) -> list[tuple[str, ...]]:
    curves, data = c.equations_of_state, c.equation_of_data
    quantities: tuple[tuple[str, str, int], ...] = (
        ("volume (equation of state), Å³/atom", "volume", 3),
        ("energy, eV/atom", "energy", 4),
        ("bulk modulus, GPa", "bulk_modulus", 1),
        ("its derivative by pressure", "bulk_modulus_slope", 2),
    )
    return [
        (label, _spread([getattr(e, name) for e in curves], digits),
         "" if data is None else _rounded(getattr(data, name), digits))
        for label, name, digits in quantities if curves
    ]  # fmt: skip


def _elastic_rows(c: CrystalProperties) -> list[tuple[str, ...]]:
    if not c.elastic:
        return []
    rows = []
    if all(e.is_cubic for e in c.elastic):
        relaxed = [cubic_average(e.relaxed) for e in c.elastic]
        rows += [(name, _spread([t[i, j] for t in relaxed], 1))
                 for name, i, j in (("C11, GPa", 0, 0), ("C12, GPa", 0, 1), ("C44, GPa", 3, 3))]  # fmt: skip
        rows.append(("C44 with clamped atoms, GPa", _spread([e.clamped[3:, 3:].trace() / 3 for e in c.elastic], 1)))
    stable = sum(e.is_stable for e in c.elastic)
    return [
        *rows,
        ("bulk modulus (elastic constants), GPa", _spread([e.bulk_modulus for e in c.elastic], 1)),
        ("shear modulus of a polycrystal, GPa", _spread([e.shear_modulus for e in c.elastic], 1)),
        ("mechanically stable", "yes" if stable == len(c.elastic) else f"{stable} of {len(c.elastic)} models"),
    ]


def _phonon_rows(c: CrystalProperties) -> list[tuple[str, ...]]:
    if not c.phonons:
        return []
    return [
        ("highest frequency at Γ, THz", _spread([p.at_gamma[-1] for p in c.phonons], 2)),
        ("lowest frequency on the path, THz", _spread([p.lowest for p in c.phonons], 2)),
        ("heat capacity at 300 K, k_B/atom", _spread([p.heat_capacity for p in c.phonons], 3)),
    ]


def _spread(values: Sequence[float] | np.ndarray, digits: int) -> str:
    mean = _rounded(float(np.mean(values)), digits)
    return mean if len(values) == 1 else f"{mean} ± {np.std(values):.{digits}f}"


def _rounded(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no minus before zero


def _mean(items: Sequence[Any], name: str) -> np.ndarray:
    return np.mean([getattr(item, name) for item in items], axis=0)


def _equation_caption(c: CrystalProperties) -> str:
    text = "Energy over volume, cell scaled, atoms relaxed; each curve above its own minimum."
    if c.equation_of_data is not None:
        text += f" Data: {len(c.in_data)} frames that are this crystal."
    return text


def _phonon_caption(p: Phonons) -> str:
    return (
        f"Phonon dispersion and density of states (phonopy; {p.num_supercell_atoms} atoms, "
        f"{p.num_displacements} displaced). Imaginary frequencies are drawn below zero."
    )


def draw_phonons(phonons: Sequence[Phonons]) -> bytes:
    """Dispersion along the path, and density of states."""
    figure = new_figure(9.5, 4.2)
    bands, density = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
    segments = phonons[0].segments
    edges = np.array([segments[0].distances[0], *(segment.distances[-1] for segment in segments)])
    for p in phonons:
        # stretched to the first member's path, so that the special points of all coincide
        for position, segment in enumerate(p.segments):
            x = np.linspace(edges[position], edges[position + 1], len(segment.distances))
            bands.plot(x, segment.frequencies, color=MODEL, linewidth=1.0, alpha=1.0 if len(phonons) == 1 else 0.5)
        density.plot(p.density, p.frequency, color=MODEL, linewidth=1.1, alpha=1.0 if len(phonons) == 1 else 0.5)
    for edge in edges:
        bands.axvline(edge, color=QUIET, linewidth=0.6)
    bands.set_xticks(edges, _labels(segments))
    bands.axhline(0, color=QUIET, linewidth=0.6)
    bands.set(xlim=(edges[0], edges[-1]), ylabel="frequency, THz")
    density.set(xlabel="states per THz", xlim=(0, None))
    return png(figure)


def _labels(segments: Sequence[Segment]) -> list[str]:
    """Names of the special points between segments; two where the path jumps."""
    names = [(s.ends[0].replace("G", "Γ"), s.ends[1].replace("G", "Γ")) for s in segments]
    between = [a[1] if a[1] == b[0] else f"{a[1]}|{b[0]}" for a, b in zip(names[:-1], names[1:])]
    return [names[0][0], *between, names[-1][1]]
