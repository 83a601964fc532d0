"""Reads what the LAMMPS inputs of examples/silicon write, into the units and signs of this package.

LAMMPS (units metal) gives pressure in bar; stress here is eV/Angstrom^3 with tension positive, so stress = -pressure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import units
from numpy.typing import NDArray

from allegro_dist.analysis.fits import (
    ElasticConstants,
    EquationOfState,
    SinglePoint,
    StrainTest,
    fit_elastic_constants,
    fit_equation_of_state,
)

CRYSTAL_KINDS = ("volume", "lattice", "uniaxial", "clamped", "relaxed")


@dataclass(frozen=True)
class Crystal:
    """What crystal.in finds out about a crystal."""

    equation_of_state: EquationOfState
    lattice_constant: float  # Angstrom, cell relaxed to zero pressure
    elastic: ElasticConstants  # atoms moved with the cell
    c44_relaxed: float  # GPa, atoms relaxed in the sheared cell


def read_crystal(path: Path, atoms_per_cell: int = 8) -> Crystal:
    """Read crystal.txt of crystal.in; raises ValueError naming the kind of row that is missing or unknown."""
    rows: dict[str, list[list[float]]] = {kind: [] for kind in CRYSTAL_KINDS}
    for line in Path(path).read_text().splitlines():
        kind, *values = line.split()
        if kind not in rows or len(values) != 6:
            raise ValueError(f"{path}: expected a row of crystal.in ({', '.join(CRYSTAL_KINDS)}), got '{line[:60]}'")
        rows[kind].append([float(value) for value in values])
    for kind, found in rows.items():
        if not found:
            raise ValueError(f"{path}: no row '{kind}': crystal.in did not run to its end")
    table = {kind: np.array(sorted(found)) for kind, found in rows.items()}
    volumes, uniaxial = table["volume"], table["uniaxial"]

    def elastic(shears: NDArray[np.float64]) -> ElasticConstants:
        stress = -units.bar * uniaxial[:, 2:]
        return fit_elastic_constants(
            StrainTest(
                uniaxial[:, 0], stress[:, 0], stress[:, 1:3].mean(axis=1), shears[:, 0], -units.bar * shears[:, 5]
            )
        )

    return Crystal(
        equation_of_state=fit_equation_of_state(volumes[:, 0] ** 3 / atoms_per_cell, volumes[:, 1]),
        lattice_constant=float(table["lattice"][0, 0]),
        elastic=elastic(table["clamped"]),
        c44_relaxed=elastic(table["relaxed"]).c44,
    )


def read_single_point(folder: Path) -> SinglePoint:
    """Read what single_point.in wrote into a folder (energy.txt, forces.dump)."""
    energy, pressure = np.loadtxt(Path(folder) / "energy.txt")
    forces = np.loadtxt(Path(folder) / "forces.dump", skiprows=9, ndmin=2)
    return SinglePoint(float(energy), forces[:, 1:], float(pressure * units.bar))
