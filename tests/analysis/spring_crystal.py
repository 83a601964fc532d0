"""An fcc crystal of Morse bonds between nearest neighbors: springs at rest, for which everything has closed forms."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.data import atomic_masses, atomic_numbers

EDGE = 4.0  # Angstrom, cubic cell
BOND = EDGE / np.sqrt(2)
DEPTH, RHO = 0.5, 5.0  # eV; exp(-RHO (r/BOND - 1))
SPRING = 2 * DEPTH * RHO**2 / BOND**2  # eV/Angstrom^2, curvature of a bond
MASS = atomic_masses[atomic_numbers["Al"]]  # amu


def spring_crystal(scale: float = 1.0, cubic: bool = False) -> Atoms:
    """The primitive or the cubic cell; bonds end between the first shell of neighbors and the second (1.41 BOND)."""
    atoms = bulk("Al", "fcc", a=scale * EDGE, cubic=cubic)
    atoms.calc = MorsePotential(epsilon=DEPTH, rho0=RHO, r0=BOND, rcut1=1.2, rcut2=1.3)
    return atoms
