"""The ASE calculator against the potential it was exported from, and against ASE's own differentiation."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from allegro_dist.data.structure import DataError
from allegro_dist.deploy.archive import save_archive
from allegro_dist.potential import assemble_forces
from allegro_dist.simulate import calculator as module
from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import edges_of, make_potential, silica


@pytest.fixture(scope="module")
def potential():
    return make_potential()


@pytest.fixture(scope="module")
def path(potential, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "model.pth"
    save_archive(path, potential)
    return path


@pytest.fixture(params=["torchscript", "fused"])
def atoms(path, request):
    atoms = silica()
    atoms.calc = AllegroCalculator(path, evaluator=request.param)
    return atoms


def test_energy_and_forces_equal_the_potential(atoms, potential):
    vectors, edge_index, types = edges_of(atoms)
    energy, gradient = potential(vectors, edge_index, types)
    assert atoms.get_potential_energy() == pytest.approx(energy.sum().item(), abs=1e-10)
    np.testing.assert_allclose(
        atoms.get_forces(), assemble_forces(gradient, edge_index, len(atoms)).numpy(), rtol=0, atol=1e-12
    )


def test_forces_and_stress_equal_ase_finite_differences(atoms):
    np.testing.assert_allclose(
        atoms.get_forces()[:2], calculate_numerical_forces(atoms, 1e-3, iatoms=range(2)), atol=2e-6
    )
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, 1e-4), atol=1e-8)


def test_parts_per_atom_add_up_to_the_totals(atoms):
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), rtol=1e-12)


def test_block_size_does_not_change_results(path, monkeypatch):
    atoms = silica(repeat=(2, 2, 1))
    atoms.calc = AllegroCalculator(path, evaluator="torchscript")
    energies, forces = atoms.get_potential_energies(), atoms.get_forces()
    for size in (1, 100, 10**9):
        monkeypatch.setattr(module, "BLOCK_EDGES", size)
        atoms.calc.reset()
        np.testing.assert_allclose(atoms.get_potential_energies(), energies, rtol=0, atol=1e-11)
        np.testing.assert_allclose(atoms.get_forces(), forces, rtol=0, atol=1e-12)


def test_molecule_without_cell_and_atom_without_neighbors(path):
    atoms = Atoms("OH2Si", positions=[[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0], [50, 0, 0]])
    atoms.calc = AllegroCalculator(path)
    assert atoms.get_potential_energies()[3] == -100.0
    assert (atoms.get_forces()[3] == 0).all()
    assert "stress" not in atoms.calc.results


def test_element_that_the_model_does_not_have_is_named(path):
    atoms = Atoms("SiC", positions=[[0, 0, 0], [2, 0, 0]], calculator=AllegroCalculator(path))
    with pytest.raises(DataError, match="'C'.*Si, O, H"):
        atoms.get_potential_energy()
