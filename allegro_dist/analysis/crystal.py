"""A crystal at rest by any ASE calculator: relaxed cell, energy-volume curve, elastic tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_strain
from numpy.typing import NDArray

from allegro_dist.analysis.fits import GPA, EquationOfState, fit_equation_of_state

FORCE_TOLERANCE = 1e-4
"""eV/Angstrom, of relaxed atoms: what float32 models can meet."""
MAX_STEPS = 500
VOLUME_STRAINS = np.linspace(-0.04, 0.04, 13)
"""Of the cell's edges, for energy-volume curves."""
STRAIN = 0.004
"""For elastic constants, both signs: small for the second derivative, large for float32's rounding of stresses."""


class CrystalError(RuntimeError):
    """A crystal whose property can't be computed; the message says why."""


@dataclass(frozen=True)
class ElasticTensor:
    """Stress over strain at zero stress, GPa, [6, 6] in ASE's Voigt order (xx, yy, zz, yz, xz, xy), symmetric."""

    clamped: NDArray[np.float64]  # atoms moved with the cell
    relaxed: NDArray[np.float64]  # atoms relaxed in the strained cell: what an experiment sees

    @property
    def is_stable(self) -> bool:
        """Born's criterion: every strain costs energy."""
        return bool(np.linalg.eigvalsh(self.relaxed).min() > 0)

    @property
    def is_cubic(self) -> bool:
        """Whether it is that of a cubic crystal along its axes, to 1 % of C11."""
        return bool(np.abs(self.relaxed - cubic_average(self.relaxed)).max() < 0.01 * abs(self.relaxed[0, 0]))

    @property
    def bulk_modulus(self) -> float:
        """Mean of Voigt's and Reuss's bounds for a polycrystal, GPa."""
        voigt = self.relaxed[:3, :3].sum() / 9
        return float((voigt + 1 / np.linalg.inv(self.relaxed)[:3, :3].sum()) / 2)

    @property
    def shear_modulus(self) -> float:
        """Mean of Voigt's and Reuss's bounds for a polycrystal, GPa (Hill, Proc. Phys. Soc. A 65, 349, 1952)."""
        c, s = self.relaxed, np.linalg.inv(self.relaxed)
        voigt = (np.trace(c[:3, :3]) - (c[0, 1] + c[0, 2] + c[1, 2]) + 3 * np.trace(c[3:, 3:])) / 15
        reuss = 15 / (4 * np.trace(s[:3, :3]) - 4 * (s[0, 1] + s[0, 2] + s[1, 2]) + 3 * np.trace(s[3:, 3:]))
        return float((voigt + reuss) / 2)


def cubic_average(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """The tensor of the cubic crystal, along its axes, that is nearest to a tensor [6, 6]."""
    c11, c44 = np.trace(tensor[:3, :3]) / 3, np.trace(tensor[3:, 3:]) / 3
    c12 = (tensor[0, 1] + tensor[0, 2] + tensor[1, 2]) / 3
    average = np.diag([c11 - c12] * 3 + [c44] * 3)
    average[:3, :3] += c12
    return average


def relaxed_atoms(atoms: Atoms, calculator: Calculator) -> Atoms:
    """A copy with the atoms at rest, in the cell as it is; raises CrystalError if that fails."""
    copy = atoms.copy()
    copy.calc = calculator
    if len(atoms) > 1:
        _minimize(copy, copy)
    return copy


def relaxed_crystal(atoms: Atoms, calculator: Calculator) -> Atoms:
    """A copy with atoms and cell at rest at zero pressure; raises CrystalError if that fails."""
    if not atoms.pbc.all():
        raise CrystalError(f"a crystal is periodic in three directions, got pbc {atoms.pbc.tolist()}")
    copy = atoms.copy()
    copy.calc = calculator
    _minimize(copy, FrechetCellFilter(copy))
    return copy


def equation_of_state(crystal: Atoms) -> EquationOfState:
    """Energy-volume curve about a relaxed crystal with its calculator: the shape of the cell kept, atoms relaxed.

    Raises ValueError as fit_equation_of_state.
    """
    volumes, energies = [], []
    for strain in VOLUME_STRAINS:
        strained = relaxed_atoms(deformed(crystal, (1 + strain) * np.eye(3)), crystal.calc)
        volumes.append(strained.get_volume() / len(crystal))
        energies.append(strained.get_potential_energy() / len(crystal))
    return fit_equation_of_state(volumes, energies)


def elastic_tensor(crystal: Atoms) -> ElasticTensor:
    """C_ij = d stress_i / d strain_j by central differences about a relaxed crystal with its calculator."""
    clamped, relaxed = np.zeros((6, 6)), np.zeros((6, 6))
    for j in range(6):
        for sign in (-1, 1):
            strained = deformed(crystal, voigt_6_to_full_3x3_strain(sign * STRAIN * np.eye(6)[j]))  # 1 + strain
            strained.calc = crystal.calc
            clamped[:, j] += sign * strained.get_stress() / (2 * STRAIN * GPA)
            relaxed[:, j] += sign * relaxed_atoms(strained, crystal.calc).get_stress() / (2 * STRAIN * GPA)
    return ElasticTensor((clamped + clamped.T) / 2, (relaxed + relaxed.T) / 2)


def deformed(atoms: Atoms, deformation: NDArray[np.float64]) -> Atoms:
    """A copy whose cell vectors are multiplied by 1 + strain [3, 3], atoms moved with them."""
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return copy


def _minimize(atoms: Atoms, variables: Any) -> None:
    """Bring the atoms to rest by changing `variables`: themselves, or a filter that has their cell, too."""
    if not BFGS(variables, logfile=None).run(fmax=FORCE_TOLERANCE, steps=MAX_STEPS):
        largest = float(np.linalg.norm(variables.get_forces(), axis=1).max())
        raise CrystalError(
            f"{atoms.get_chemical_formula()}: not at rest after {MAX_STEPS} steps: the largest force is "
            f"{largest:.2g} eV/A, {FORCE_TOLERANCE:g} were asked for"
        )
