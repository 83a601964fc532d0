"""The pair style against the Python Potential on ASE's neighbor list: same structure, same weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from allegro_dist.potential import assemble_forces, assemble_virial
from tests.conftest import MIXED_CUTOFFS, TYPE_NAMES, edges_of, silica
from tests.lammps.lammps_run import in_lammps_frame, pair_allegro, run_lammps

LAMMPS_ORDER = ((0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2))


class PythonResult(NamedTuple):
    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray  # [6] LAMMPS's order


def evaluate(potential, atoms: Atoms) -> PythonResult:
    vectors, index, types = edges_of(atoms, TYPE_NAMES, MIXED_CUTOFFS)
    energy, gradient = potential(vectors, index, types)
    forces = assemble_forces(gradient.double(), index, len(atoms))
    virial = assemble_virial(gradient.double(), vectors, torch.zeros(len(vectors), dtype=torch.int64), 1)[0]
    return PythonResult(energy.numpy(), forces.numpy(), virial.numpy()[LAMMPS_ORDER])


def cluster() -> Atoms:
    """No periodic directions; the last two atoms see nobody."""
    atoms = silica(seed=7)
    atoms.set_cell([40.0, 40.0, 40.0])
    atoms.positions += 15.0
    atoms.pbc = False
    return atoms + Atoms("SiH", positions=[[2, 2, 2], [37, 37, 37]])


def primitive() -> Atoms:
    """Two atoms in a skewed cell of which the cutoff spans several."""
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.rattle(0.1, seed=1)
    return in_lammps_frame(atoms)


STRUCTURES = {
    "triclinic": lambda: in_lammps_frame(silica(seed=5, repeat=(2, 2, 1))),
    "cell smaller than the cutoff": primitive,
    "cluster with isolated atoms": cluster,
    "one atom": lambda: Atoms("O", positions=[[1, 1, 1]], cell=[30.0] * 3, pbc=True),
}


@pytest.mark.parametrize("device", ("cpu", "emulated"))  # emulated: the GPU's code, played by the host
@pytest.mark.parametrize("name", STRUCTURES)
def test_float64_equals_python(name, device, potentials, archives, tmp_path):
    compare(STRUCTURES[name](), potentials["float64"], archives["float64"], f"device {device}", tmp_path)


def test_more_atoms_than_are_sorted_by_type_at_once(potentials, archives, tmp_path):
    atoms = in_lammps_frame(silica(seed=6, repeat=(9, 8, 8)))  # 4,608; edge_builder.cpp sorts 4,096
    compare(atoms, potentials["float64"], archives["float64"], "device cpu", tmp_path)


def compare(atoms: Atoms, potential, archive, options: str, folder) -> None:
    found = run_lammps(folder, atoms, TYPE_NAMES, pair_allegro(archive, TYPE_NAMES, options=options))
    expected = evaluate(potential, atoms)
    assert found.energy == pytest.approx(expected.energies.sum(), abs=1e-9 * len(atoms))
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-8)
    scale = max(np.abs(expected.virial).max(), 1e-6)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-6 * scale)


def test_float32_equals_python(potentials, archives, triclinic_silica, tmp_path):
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair_allegro(archives["float32"], TYPE_NAMES))
    expected = evaluate(potentials["float32"], triclinic_silica)
    shifts = potentials["float32"].shift.detach().numpy()[edges_of(triclinic_silica)[2]]
    interaction = (expected.energies - shifts).sum()
    assert found.energy - shifts.sum() == pytest.approx(interaction, rel=1e-5)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-5 * np.abs(expected.forces).max())
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-5 * np.abs(expected.virial).max())


def test_element_order_is_the_users(potentials, archives, triclinic_silica, tmp_path):
    order = ("H", "Si", "O")
    found = run_lammps(tmp_path, triclinic_silica, order, pair_allegro(archives["float64"], order))
    np.testing.assert_allclose(
        found.forces, evaluate(potentials["float64"], triclinic_silica).forces, rtol=0, atol=1e-8
    )


def test_two_lammps_types_may_be_one_element(potentials, archives, tmp_path):
    atoms = STRUCTURES["cluster with isolated atoms"]()
    pair = pair_allegro(archives["float64"], ("Si", "Si", "Si"))
    found = run_lammps(tmp_path, atoms, TYPE_NAMES, pair)
    atoms.set_chemical_symbols(["Si"] * len(atoms))
    np.testing.assert_allclose(found.forces, evaluate(potentials["float64"], atoms).forces, rtol=0, atol=1e-8)
