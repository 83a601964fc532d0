"""Labelled frames for tests: a made-up pair potential over random cells, in float64."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator


def random_atoms(seed: int, symbols: str = "Si4O3H", length: float = 6.0, pbc: bool | list[bool] = True) -> Atoms:
    """Atoms at random in a triclinic cell, none nearer than 1 Angstrom."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(symbols, cell=length * (np.eye(3) + rng.uniform(-0.15, 0.15, (3, 3))), pbc=pbc)
    for _ in range(1000):
        atoms.set_scaled_positions(rng.uniform(0, 1, (len(atoms), 3)))
        lengths = atoms.get_all_distances(mic=True) + 10 * np.eye(len(atoms))
        if lengths.min() > 1.0:
            return atoms
    raise RuntimeError("no such arrangement found")


def labelled_atoms(seed: int, **changes) -> Atoms:
    """Random atoms with the energy, forces and stress of a soft Lennard-Jones crystal."""
    atoms = random_atoms(seed, **changes)
    atoms.calc = LennardJones(sigma=1.2, epsilon=0.3, rc=4.0, smooth=True)
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
