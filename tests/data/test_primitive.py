"""Frames that repeat a smaller cell, and those of one atom that are no isolated atoms. EMT is the witness of labels."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from allegro_dist.data.dataset import FrameList
from allegro_dist.data.isolated import is_isolated
from allegro_dist.data.primitive import count_repeats, primitive
from allegro_dist.data.structure import from_atoms
from tests.data.frames import labelled_atoms


def labelled(atoms: Atoms) -> Atoms:
    atoms.calc = EMT()
    results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress()}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def strained(atoms: Atoms) -> Atoms:
    deformation = np.eye(3) + np.array([[0.03, 0.02, 0], [0, -0.01, 0.015], [0.01, 0, 0.02]])
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return atoms


def alloy() -> Atoms:
    """Four atoms that repeat nothing smaller, with forces on all of them."""
    atoms = strained(bulk("Cu", cubic=True))
    atoms.symbols[:2] = "Al"
    atoms.rattle(0.1, seed=3)
    return atoms


CRYSTALS = {
    "one atom": (lambda: strained(bulk("Cu", cubic=True)).repeat((3, 2, 4)), 1),
    "alloy": (lambda: alloy().repeat((2, 3, 1)), 4),
    "atoms outside the cell": (lambda: shifted(alloy().repeat((2, 2, 2))), 4),
    "alloy without smaller cell": (alloy, 4),
}


def shifted(atoms: Atoms) -> Atoms:
    atoms.positions += np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    return atoms


@pytest.mark.parametrize("name", CRYSTALS)
def test_smallest_cell_has_the_labels_that_its_own_calculation_gives(name):
    make, size = CRYSTALS[name]
    structure = from_atoms(labelled(make()))
    found = primitive(structure)
    assert len(found.symbols) == size
    again = from_atoms(labelled(found.as_atoms()))
    assert found.energy == pytest.approx(again.energy, abs=1e-9)
    np.testing.assert_allclose(found.forces, again.forces, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.stress, again.stress, rtol=0, atol=1e-11)


def test_frames_without_forces_are_reduced_too():
    structure = from_atoms(labelled(bulk("Cu", cubic=True)))
    found = primitive(structure._replace(forces=None, stress=None))
    assert len(found.symbols) == 1 and found.forces is None
    assert found.energy == pytest.approx(structure.energy / 4)


def test_what_does_not_repeat_stays_as_it_is():
    frames = [from_atoms(labelled_atoms(n)) for n in range(3)]  # disordered
    moved = labelled(bulk("Cu", cubic=True))
    moved.positions[1, 0] += 1e-3
    slab = bulk("Cu", cubic=True).repeat(2)
    slab.pbc = (True, True, False)
    for structure in (*frames, from_atoms(moved), from_atoms(labelled(slab))):
        assert primitive(structure) is structure


def test_labels_that_differ_between_translations_keep_the_frame():
    """Magnetic order, for one, which positions do not show."""
    atoms = labelled(bulk("Cu", cubic=True))
    atoms.calc.results["forces"][0] = [0.1, 0.0, 0.0]
    atoms.calc.results["forces"][1] = [0.1, 0.0, 0.0]
    structure = from_atoms(atoms)
    assert primitive(structure) is structure


def test_repeats_are_counted():
    frames = [from_atoms(labelled(make())) for make, _ in CRYSTALS.values()]
    assert count_repeats(frames) == (3, 96 + 24 + 32, 1 + 4 + 4)
    assert count_repeats([]) == (0, 0, 0)


def test_crystal_of_one_atom_is_not_an_isolated_atom():
    box = Atoms("Cu", cell=[10.0] * 3, pbc=True)
    wire = Atoms("Cu", cell=[2.5, 20.0, 20.0], pbc=(True, False, False))
    lone = Atoms("Cu")
    found = [is_isolated(from_atoms(a)) for a in (bulk("Cu"), wire, box, lone, bulk("Cu", cubic=True))]
    assert found == [False, False, True, True, False]
    skewed = Atoms("Cu", cell=[[10.0, 0, 0], [9.0, 3.0, 0], [0, 0, 10.0]], pbc=True)  # b - a is 3.2 A long
    assert not is_isolated(from_atoms(skewed))


def test_energy_of_an_isolated_atom_is_not_taken_from_a_crystal():
    crystal, lone = bulk("Cu"), Atoms("Cu", cell=[12.0] * 3, pbc=True)
    for atoms, energy in ((crystal, -3.5), (lone, -0.2)):
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    assert FrameList([from_atoms(crystal), from_atoms(lone)]).isolated_energies() == {"Cu": -0.2}
