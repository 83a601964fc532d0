"""A crystal's properties by every member of a committee, and the frames of the data that are the same crystal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.neighborlist import neighbor_list

from allegro_dist.analysis.crystal import (
    CrystalError,
    ElasticTensor,
    elastic_tensor,
    equation_of_state,
    relaxed_crystal,
)
from allegro_dist.analysis.fits import EquationOfState, fit_equation_of_state
from allegro_dist.analysis.phonons import Phonons, compute_phonons, phonopy_is_installed
from allegro_dist.data.neighbors import find_types
from allegro_dist.data.structure import Array, from_atoms, read_atoms
from allegro_dist.report.committee import Committee
from allegro_dist.report.predictions import Frame

Item = TypeVar("Item")
Result = TypeVar("Result")
REACH, SAME = 2.1, 2e-3
"""Of crystals compared by their distances, in units of (volume per atom)^(1/3): how far, and how nearly equal."""


@dataclass(frozen=True)
class LatticePoint:
    """A frame of the data that is the crystal under pressure or tension."""

    source: str
    volume: float  # Angstrom^3 per atom
    energy: float  # eV per atom


@dataclass
class CrystalProperties:
    """What the members (one entry for each) say of a crystal; a property that failed is empty, `left_out` says why."""

    name: str
    formula: str
    cells: list[Array] = field(default_factory=list)  # [6] lengths and angles at zero pressure, Angstrom and degrees
    equations_of_state: list[EquationOfState] = field(default_factory=list)
    elastic: list[ElasticTensor] = field(default_factory=list)
    phonons: list[Phonons] = field(default_factory=list)
    in_data: list[LatticePoint] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @cached_property
    def equation_of_data(self) -> EquationOfState | None:
        """Through the data's own frames; None where they are too few."""
        try:
            return fit_equation_of_state([p.volume for p in self.in_data], [p.energy for p in self.in_data])
        except ValueError:
            return None


def read_crystal(path: str, committee: Committee) -> Atoms:
    """A crystal for these models; raises DataError for what is unreadable or has other types."""
    atoms = read_atoms(path)
    find_types(from_atoms(atoms, path), committee.type_names)
    return atoms


def crystal_properties(
    name: str, atoms: Atoms, calculators: Sequence[Calculator], frames: Sequence[Frame], width: float
) -> CrystalProperties:
    """Relax the crystal by each calculator, and compute the rest about its own cell.

    Args:
        frames: among which the same crystal is looked for.
        width: least one of the supercell for phonons, Angstrom.
    """
    found = CrystalProperties(name, atoms.get_chemical_formula())
    found.in_data = same_crystal(atoms, frames)
    relaxed = _of_each(found, "relaxed cell", calculators, lambda calculator: relaxed_crystal(atoms, calculator))
    found.cells = [crystal.cell.cellpar() for crystal in relaxed]
    found.equations_of_state = _of_each(found, "equation of state", relaxed, equation_of_state)
    found.elastic = _of_each(found, "elastic constants", relaxed, elastic_tensor)
    if phonopy_is_installed():
        found.phonons = _of_each(found, "phonons", relaxed, lambda crystal: compute_phonons(crystal, width))
    else:
        found.left_out["phonons"] = "phonopy is not installed: pip install 'allegro-dist[report]'"
    return found


def same_crystal(atoms: Atoms, frames: Sequence[Frame]) -> list[LatticePoint]:
    """The frames with an energy that are the crystal in any cell, scaled alike in all directions; by volume."""
    fingerprint = _distances(atoms)
    points = []
    for frame in frames:
        s = frame.structure
        if s.energy is None or not all(s.pbc) or set(s.symbols) != set(atoms.symbols):
            continue
        if _same(_distances(s.as_atoms()), len(s.symbols), fingerprint, len(atoms)):
            points.append(LatticePoint(s.source, s.volume / len(s.symbols), s.energy / len(s.symbols)))
    return sorted(points, key=lambda point: point.volume)


def _distances(atoms: Atoms) -> Array:
    """[n, 3] atomic numbers of all pairs within REACH and their reduced distance; sorted."""
    unit = (atoms.get_volume() / len(atoms)) ** (1 / 3)
    i, j, d = neighbor_list("ijd", atoms, REACH * unit)
    rows = np.stack([atoms.numbers[i], atoms.numbers[j], d / unit], axis=1)
    return rows[np.lexsort(rows.T[::-1])]


def _same(a: Array, num_a: int, b: Array, num_b: int) -> bool:
    """Whether two crystals' distances, of cells of num_a and num_b atoms, are the same per atom."""
    if len(a) * num_b != len(b) * num_a:
        return False
    return bool(np.abs(np.repeat(a, num_b, axis=0) - np.repeat(b, num_a, axis=0)).max(initial=0.0) < SAME)


def _of_each(
    found: CrystalProperties, name: str, items: Sequence[Item], compute: Callable[[Item], Result]
) -> list[Result]:
    """A property by each member; if one fails, by none, and the reason is noted."""
    try:
        return [compute(item) for item in items]
    except (CrystalError, ValueError) as error:
        found.left_out[name] = str(error)
        return []
