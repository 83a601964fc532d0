"""Frames of the data that are the crystal of the report, in whatever cell."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.calculators.singlepoint import SinglePointCalculator

from allegro_dist.data.structure import from_atoms
from allegro_dist.report.crystals import same_crystal
from allegro_dist.report.predictions import Frame

DIAMOND = bulk("Si", "diamond", a=5.43)


def frame(atoms: Atoms, energy: float = -1.0) -> Frame:
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return Frame(from_atoms(atoms, "frame"), None)


def sheared() -> Atoms:
    atoms = DIAMOND.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + [[0, 0.02, 0], [0, 0, 0], [0, 0, 0]]), scale_atoms=True)
    return atoms


@pytest.mark.parametrize(
    "atoms",
    [
        bulk("Si", "diamond", a=5.3),
        bulk("Si", "diamond", a=5.6, cubic=True),
        make_supercell(DIAMOND, [[1, 1, 0], [0, 2, 1], [0, 0, 2]]),
    ],
    ids=["compressed", "cubic cell, expanded", "skewed supercell"],
)
def test_same_crystal_in_another_cell_is_found(atoms):
    (point,) = same_crystal(DIAMOND, [frame(atoms, energy=-5.0)])
    assert point.volume == pytest.approx(atoms.get_volume() / len(atoms))
    assert point.energy == pytest.approx(-5.0 / len(atoms))


@pytest.mark.parametrize(
    "atoms",
    [sheared(), bulk("Ge", "diamond", a=5.43), bulk("Si", "bcc", a=3.1), bulk("Si", "diamond", a=5.43, cubic=True)[:7]],
    ids=["sheared", "another element", "another lattice", "vacancy"],
)
def test_another_structure_is_not_taken_for_it(atoms):
    assert same_crystal(DIAMOND, [frame(atoms)]) == []


def test_compounds_are_told_apart_by_who_is_whose_neighbor():
    zincblende, swapped = bulk("SiC", "zincblende", a=4.4), bulk("SiC", "zincblende", a=4.4, cubic=True)
    assert len(same_crystal(zincblende, [frame(swapped)])) == 1
    swapped.symbols[[0, 1, 2, 3]] = ["Si", "Si", "C", "C"]
    assert same_crystal(zincblende, [frame(swapped)]) == []
