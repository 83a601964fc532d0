"""Other unit styles: the same physics as in metal units. The factors come from scipy's table of constants."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.constants import Avogadro, angstrom, calorie, elementary_charge, physical_constants

from tests.conftest import TYPE_NAMES
from tests.lammps.lammps_run import pair_allegro, run_lammps

BOHR, HARTREE = (physical_constants[name][0] for name in ("Bohr radius", "Hartree energy"))
UNITS = {  # length in m, energy in J
    "real": (angstrom, 1000 * calorie / Avogadro),
    "electron": (BOHR, HARTREE),
    "si": (1.0, 1.0),
    "cgs": (1e-2, 1e-7),
    "micro": (1e-6, 1e-15),
    "nano": (1e-9, 1e-21),
}
# scipy's Bohr and Hartree may be of another CODATA year than the plugin's: 7e-10 in lengths, and some 50 times as much
# in forces.
TOLERANCE, FORCE_TOLERANCE = 1e-9, 5e-8


@pytest.fixture(scope="module")
def in_metal_units(archives, triclinic_silica, tmp_path_factory):
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    return run_lammps(tmp_path_factory.mktemp("metal"), triclinic_silica, TYPE_NAMES, pair)


@pytest.mark.parametrize("style", UNITS)
def test_results_are_those_of_metal_units(in_metal_units, archives, triclinic_silica, tmp_path, style):
    meters, joules = UNITS[style]
    length, energy = angstrom / meters, elementary_charge / joules  # of one Angstrom, one eV
    atoms = triclinic_silica.copy()
    atoms.set_cell(atoms.cell.array * length, scale_atoms=True)
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    run = run_lammps(tmp_path, atoms, TYPE_NAMES, pair, head=f"units {style}", skin=length)
    np.testing.assert_allclose(run.energy, in_metal_units.energy * energy, rtol=TOLERANCE)
    np.testing.assert_allclose(run.energies, in_metal_units.energies * energy, rtol=TOLERANCE)
    forces = in_metal_units.forces * energy / length
    np.testing.assert_allclose(run.forces, forces, rtol=0, atol=FORCE_TOLERANCE * abs(forces).max())
    # LAMMPS's pressures come from its own, rounded factors: compare the sum over atoms with the global value
    np.testing.assert_allclose(run.sum_of_virials, run.virial * run.sum_of_virials[0] / run.virial[0], rtol=1e-9)
