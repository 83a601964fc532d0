"""compute heat/flux with centroid/stress/atom against the energy current by finite differences, and what it sums to."""

from __future__ import annotations

import numpy as np
import pytest

from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import TYPE_NAMES, silica
from tests.lammps.lammps_run import last_dump, last_thermo, pair_allegro, start_lmp, write_data

INPUT = """\
units metal
atom_style atomic
boundary {boundary}
box tilt large
read_data structure.data
{pair}
velocity all create 3000 4711
compute ke all ke/atom
compute pe all pe/atom
compute centroid all centroid/stress/atom NULL virial
compute plain all stress/atom NULL virial
compute flux all heat/flux ke pe centroid
compute sums all reduce sum c_centroid[*] c_plain[*]
thermo_style custom step c_flux[1] c_flux[2] c_flux[3] c_sums[*]
thermo_modify format float %.17g
dump atoms all custom 1 atoms.dump id x y z vx vy vz
dump_modify atoms sort id format float %.17g
run 0
"""
EV_PER_KINETIC = 1.0364269e-4  # of amu (Angstrom/ps)^2, as LAMMPS has it (mvv2e)


def run(folder, archive, atoms, ranks, device):
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    pair = pair_allegro(archive, TYPE_NAMES, f"device {device}")
    done = start_lmp(folder, INPUT.format(boundary=boundary, pair=pair), ranks)
    assert done.returncode == 0, done.stdout[-2000:]
    thermo, table = last_thermo(done.stdout)[1:], last_dump(folder, len(atoms))
    return thermo[:3], thermo[3:12], thermo[12:18], table[:, 1:4], table[:, 4:7]


@pytest.mark.parametrize("ranks, device", [(1, "cpu"), (2, "cpu"), (2, "emulated")])
def test_heat_flux_is_the_energy_current(archives, tmp_path, ranks, device):
    atoms = silica(seed=3, repeat=(2, 1, 1))
    atoms.set_cell([30.0, 30.0, 30.0])
    atoms.positions += 8.0
    atoms.pbc = False  # so that sum_i r_i E_i has a meaning
    flux, _, _, positions, velocities = run(tmp_path, archives["float64"], atoms, ranks, device)
    atoms.positions = positions
    atoms.calc = AllegroCalculator(archives["float64"])
    energies, forces = atoms.get_potential_energies(), atoms.get_forces()
    step, change = 2e-6, []  # ps
    for sign in (-1, 1):
        moved = atoms.copy()
        moved.positions = positions + sign * step * velocities
        moved.calc = atoms.calc
        change.append(moved.get_potential_energies())
    rate = (change[1] - change[0]) / (2 * step) + (forces * velocities).sum(1)  # d/dt (U_i + K_i)
    kinetic = 0.5 * atoms.get_masses() * (velocities**2).sum(1) * EV_PER_KINETIC
    expected = positions.T @ rate + velocities.T @ (energies + kinetic)
    np.testing.assert_allclose(flux, expected, rtol=0, atol=1e-8 * abs(expected).max())


@pytest.mark.parametrize("ranks, device", [(1, "cpu"), (4, "cpu"), (2, "emulated")])
def test_centroid_stress_sums_to_the_virial(archives, triclinic_silica, tmp_path, ranks, device):
    _, centroid, plain, _, _ = run(tmp_path, archives["float64"], triclinic_silica, ranks, device)
    scale = abs(plain).max()
    np.testing.assert_allclose(centroid[:6], plain, rtol=0, atol=1e-10 * scale)
    np.testing.assert_allclose(centroid[3:6], centroid[6:9], rtol=0, atol=1e-10 * scale)  # no net torque
