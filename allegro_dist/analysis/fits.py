"""What is read off a simulation: equation of state, elastic constants, energy drift, radial distribution function.

Pure functions over arrays and ASE frames, whoever computed them: DFT frames, the ASE calculator and LAMMPS go through
the same fits, so that two results differ only by what computed the energies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.eos import EquationOfState as BirchMurnaghan
from ase.geometry.rdf import get_rdf
from numpy.typing import ArrayLike, NDArray
from scipy.stats import linregress

GPA = units.GPa  # eV/Angstrom^3 in one GPa


@dataclass(frozen=True)
class EquationOfState:
    """A fitted energy-volume curve of a crystal, per atom."""

    volumes: NDArray[np.float64]  # Angstrom^3, ascending
    energies: NDArray[np.float64]  # eV
    volume: float  # at the minimum
    energy: float  # at the minimum
    bulk_modulus: float  # GPa, at the minimum
    bulk_modulus_slope: float  # dB/dP, at the minimum

    def lattice_constant(self, atoms_per_cell: int = 8) -> float:
        """Edge of the cubic cell at the minimum, Angstrom (8 atoms: conventional diamond cell)."""
        return (atoms_per_cell * self.volume) ** (1 / 3)


def fit_equation_of_state(volumes: ArrayLike, energies: ArrayLike) -> EquationOfState:
    """Fit Birch-Murnaghan (Birch 1947, third order) to volumes (Angstrom^3) and energies (eV), both per atom.

    Raises: ValueError for fewer than five points, or when the minimum lies outside them.
    """
    v, e = np.asarray(volumes, dtype=float), np.asarray(energies, dtype=float)
    if v.ndim != 1 or v.shape != e.shape or len(v) < 5:
        raise ValueError(f"equation of state: expected 5 or more volumes, as many energies, got {v.shape}, {e.shape}")
    order = np.argsort(v)
    v, e = v[order], e[order]
    if e.argmin() in (0, len(e) - 1):
        raise ValueError(f"equation of state: no minimum between {v[0]:.3f} and {v[-1]:.3f} Angstrom^3 per atom")
    fit = BirchMurnaghan(v, e - e.min(), eos="birchmurnaghan")
    volume, energy, bulk_modulus = fit.fit(warn=False)
    slope = fit.eos_parameters[2]
    return EquationOfState(v, e, float(volume), float(energy + e.min()), float(bulk_modulus / GPA), float(slope))


@dataclass(frozen=True)
class ElasticConstants:
    """Elastic constants of a cubic crystal, GPa: slopes of stress over strain at zero strain."""

    c11: float
    c12: float
    c44: float

    @property
    def bulk_modulus(self) -> float:
        return (self.c11 + 2 * self.c12) / 3


@dataclass(frozen=True)
class StrainTest:
    """Stresses (tension positive, eV/Angstrom^3) of a cubic crystal under two kinds of homogeneous strain."""

    uniaxial: NDArray[np.float64]  # [U] strain xx
    stress_along: NDArray[np.float64]  # [U] stress xx
    stress_across: NDArray[np.float64]  # [U] mean of stress yy and zz
    shear: NDArray[np.float64]  # [S] engineering shear strain 2 xy
    stress_shear: NDArray[np.float64]  # [S] stress xy


def strain_of(atoms: Atoms, edge: float) -> NDArray[np.float64]:
    """[3, 3] strain of a cell against the cube of that edge (Angstrom), symmetric part."""
    deformation = atoms.cell.array / edge - np.eye(3)
    return (deformation + deformation.T) / 2


def strain_test(frames: Sequence[Atoms], edge: float, tolerance: float = 1e-6) -> StrainTest:
    """Sort frames with a stress into uniaxial strains along x and shears in xy; frames of other strains are left out.

    Args:
        edge: the unstrained cubic cell, Angstrom. The unstrained crystal itself counts as both.
    """
    uniaxial, shear = [], []
    for atoms in frames:
        strain = strain_of(atoms, edge)
        xx, xy = strain[0, 0], strain[0, 1]
        rest = np.abs(strain).sum() - abs(xx) - 2 * abs(xy)
        if rest > tolerance:
            continue
        stress = atoms.get_stress(voigt=False)
        if abs(xy) < tolerance:
            uniaxial.append((xx, stress[0, 0], (stress[1, 1] + stress[2, 2]) / 2))
        if abs(xx) < tolerance:
            shear.append((2 * xy, stress[0, 1]))
    u, s = np.array(sorted(uniaxial)).reshape(-1, 3), np.array(sorted(shear)).reshape(-1, 2)
    return StrainTest(u[:, 0], u[:, 1], u[:, 2], s[:, 0], s[:, 1])


def fit_elastic_constants(test: StrainTest) -> ElasticConstants:
    """Slopes at zero strain: cubics through the uniaxial stresses, an odd cubic through the shear stresses.

    Strains of +-8 % are far from linear (C11 of silicon would be off by several per cent), hence the cubics.

    Raises: ValueError if there are fewer than four uniaxial or two shear strains.
    """
    if len(test.uniaxial) < 4 or len(np.unique(np.abs(test.shear[np.abs(test.shear) > 1e-9]))) < 2:
        raise ValueError(
            f"elastic constants: expected at least 4 uniaxial and 2 shear strains, got {len(test.uniaxial)} uniaxial "
            f"and {len(test.shear)} shear"
        )
    along = np.polynomial.Polynomial.fit(test.uniaxial, test.stress_along, 3).deriv()(0.0)
    across = np.polynomial.Polynomial.fit(test.uniaxial, test.stress_across, 3).deriv()(0.0)
    odd = np.stack([test.shear, test.shear**3], axis=1)  # the crystal is symmetric under the sign of a shear
    slope = np.linalg.lstsq(odd, test.stress_shear, rcond=None)[0][0]
    return ElasticConstants(float(along / GPA), float(across / GPA), float(slope / GPA))


@dataclass(frozen=True)
class Drift:
    """Least-squares slope of an energy over time, and its standard error."""

    slope: float  # per unit of time
    standard_error: float
    fluctuation: float  # standard deviation about the line


def energy_drift(time: ArrayLike, energy: ArrayLike, num_blocks: int = 10) -> Drift:
    """Straight line through an energy over time.

    Successive energies of MD are correlated, so the error is that of a line through means over `num_blocks` parts.

    Raises: ValueError for fewer than two points per block.
    """
    t, e = np.asarray(time, dtype=float), np.asarray(energy, dtype=float)
    if len(t) != len(e) or len(t) < 2 * num_blocks:
        raise ValueError(f"energy drift: expected {2 * num_blocks} or more points, got {len(t)} and {len(e)}")
    e = e - e.mean()  # total energies are large: keep the digits
    line = linregress(t, e)
    blocks = linregress(*(np.array([b.mean() for b in np.array_split(x, num_blocks)]) for x in (t, e)))
    residual = e - line.slope * t - line.intercept
    return Drift(float(line.slope), float(blocks.stderr), float(residual.std()))


@dataclass(frozen=True)
class RadialDistribution:
    """Pair correlation g(r), averaged over frames."""

    distances: NDArray[np.float64]  # [num_bins] centers of the bins, Angstrom
    values: NDArray[np.float64]  # [num_bins]


def radial_distribution(frames: Sequence[Atoms], r_max: float = 8.0, num_bins: int = 160) -> RadialDistribution:
    """g(r) of periodic frames up to r_max (Angstrom).

    Raises: ValueError without frames; ase.geometry.rdf.CellTooSmall if a cell does not hold a sphere of r_max.
    """
    if not frames:
        raise ValueError("radial distribution: expected at least one frame, got none")
    pairs = [get_rdf(atoms, r_max, num_bins) for atoms in frames]
    return RadialDistribution(pairs[0][1], np.mean([values for values, _ in pairs], axis=0))


@dataclass(frozen=True)
class SinglePoint:
    """Energy (eV), forces ([N, 3], eV/Angstrom) and pressure (eV/Angstrom^3) of one structure."""

    energy: float
    forces: NDArray[np.float64]
    pressure: float


@dataclass(frozen=True)
class Difference:
    """How far two single points of one structure are apart."""

    energy_per_atom: float  # eV
    forces_max: float  # eV/Angstrom, largest component
    forces_relative: float  # rms over the reference's rms
    pressure_relative: float


def difference(point: SinglePoint, reference: SinglePoint) -> Difference:
    """Compare two evaluations of one structure; atoms in the same order."""
    delta = point.forces - reference.forces
    return Difference(
        energy_per_atom=abs(point.energy - reference.energy) / len(reference.forces),
        forces_max=float(np.abs(delta).max()),
        forces_relative=float(np.sqrt((delta**2).mean() / (reference.forces**2).mean())),
        pressure_relative=abs(point.pressure - reference.pressure) / abs(reference.pressure),
    )
