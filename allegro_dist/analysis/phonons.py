"""Phonons of a crystal by finite displacements, with phonopy (extra `report`), along ASE's path for its lattice."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.cell import Cell
from ase.dft.kpoints import parse_path_string
from numpy.typing import NDArray

DISPLACEMENT = 0.02
"""Angstrom: small for the second derivative, large for float32's rounding of forces."""
MAX_SUPERCELL = 1000
"""Atoms."""
POINTS_PER_SEGMENT = 41
MESH_DENSITY = 60.0
"""Of the density of states: points along an axis x the cell's edge, Angstrom."""

SMALLEST = 0.01
"""THz; modes below count as acoustic ones at the center of the zone, which have no heat capacity."""


@dataclass(frozen=True)
class Segment:
    """A straight piece of the path through reciprocal space."""

    ends: tuple[str, str]  # names of the special points
    distances: NDArray[np.float64]  # [Q] along the whole path, 1/Angstrom
    frequencies: NDArray[np.float64]  # [Q, 3n] THz; imaginary ones negative


@dataclass(frozen=True)
class Phonons:
    """Harmonic lattice dynamics of a crystal."""

    segments: tuple[Segment, ...]
    frequency: NDArray[np.float64]  # [D] THz
    density: NDArray[np.float64]  # [D] states per THz and primitive cell
    at_gamma: NDArray[np.float64]  # [3n] THz, ascending
    heat_capacity: float  # at 300 K and constant volume, k_B per atom
    num_supercell_atoms: int
    num_displacements: int

    @property
    def lowest(self) -> float:
        """Lowest frequency along the path, THz; clearly below zero: the crystal is unstable."""
        return float(min(segment.frequencies.min() for segment in self.segments))


def phonopy_is_installed() -> bool:
    return importlib.util.find_spec("phonopy") is not None


def supercell_repeats(atoms: Atoms, length: float) -> tuple[int, ...]:
    """How often to repeat the cell along each vector so that its faces are `length` (Angstrom) apart.

    Raises ValueError if that would need more than MAX_SUPERCELL atoms.
    """
    heights = 1 / np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    repeats = tuple(int(np.ceil(length / h - 1e-6)) for h in heights)
    if len(atoms) * np.prod(repeats) > MAX_SUPERCELL:
        raise ValueError(
            f"a supercell {length:g} Angstrom wide has {len(atoms) * np.prod(repeats)} atoms, {MAX_SUPERCELL} at most"
        )
    return repeats


def compute_phonons(crystal: Atoms, length: float) -> Phonons:
    """Phonons of a relaxed crystal with its calculator.

    Args:
        length: least width of the supercell, Angstrom: twice the cutoff, so that an atom does not feel its own image.

    Raises ValueError as supercell_repeats.
    """
    phonon = _force_constants(crystal, np.diag(supercell_repeats(crystal, length)))
    segments = _bands(phonon)
    phonon.run_mesh(MESH_DENSITY)
    phonon.run_total_dos(use_tetrahedron_method=True)
    phonon.run_thermal_properties(temperatures=[300.0], cutoff_frequency=SMALLEST)
    gas_constant = 8.314462618  # J/K/mol, as phonopy's heat capacities
    return Phonons(
        segments=segments,
        frequency=phonon.total_dos.frequency_points,
        density=phonon.total_dos.dos,
        at_gamma=np.sort(next(s.frequencies[0] for s in segments if s.ends[0] == "G")),
        heat_capacity=float(phonon.thermal_properties.heat_capacity[0]) / gas_constant / len(phonon.primitive),
        num_supercell_atoms=len(phonon.supercell),
        num_displacements=len(phonon.supercells_with_displacements),
    )


def _force_constants(crystal: Atoms, supercell_matrix: NDArray[np.int64]) -> Any:
    """A Phonopy object that knows its force constants."""
    from phonopy import Phonopy
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.cells import guess_primitive_matrix

    cell = PhonopyAtoms(
        symbols=crystal.get_chemical_symbols(), cell=crystal.cell.array, scaled_positions=crystal.get_scaled_positions()
    )
    phonon: Any = Phonopy(cell, supercell_matrix=supercell_matrix, primitive_matrix=guess_primitive_matrix(cell))
    phonon.generate_displacements(distance=DISPLACEMENT)
    forces = []
    for displaced in phonon.supercells_with_displacements:
        atoms = Atoms(displaced.symbols, displaced.positions, cell=displaced.cell, pbc=True)
        atoms.calc = crystal.calc
        forces.append(atoms.get_forces())
    phonon.forces = forces
    phonon.produce_force_constants()
    phonon.symmetrize_force_constants()
    return phonon


def _bands(phonon: Any) -> tuple[Segment, ...]:
    """Frequencies along ASE's path for the primitive cell."""
    path = Cell(phonon.primitive.cell).bandpath(npoints=0)
    ends, points = [], []
    for names in parse_path_string(path.path):
        for first, last in zip(names[:-1], names[1:], strict=True):
            ends.append((first, last))
            points.append(np.linspace(path.special_points[first], path.special_points[last], POINTS_PER_SEGMENT))
    phonon.run_band_structure(points)
    bands = phonon.band_structure
    return tuple(
        Segment(names, distances, frequencies)
        for names, distances, frequencies in zip(ends, bands.distances, bands.frequencies, strict=True)
    )
