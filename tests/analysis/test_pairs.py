"""Pair distributions against the ideal gas, crystals' shells, and ASE's own function."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry.rdf import get_rdf
from numpy.testing import assert_allclose

from allegro_dist.analysis.pairs import BIN, pair_distributions, reach


def gas(seed: int, formula: str = "Ar300Ne150") -> Atoms:
    atoms = Atoms(formula, cell=[20.0, 21.0, 22.0], pbc=True)
    atoms.set_scaled_positions(np.random.default_rng(seed).random((len(atoms), 3)))
    return atoms


def coordination(atoms: Atoms) -> dict[str, float]:
    atoms.rattle(0.02, seed=1)
    return {f"{p.center}-{p.neighbor}": p.coordination.value for p in pair_distributions([atoms], 6.0)}


def test_ideal_gas_is_one_for_every_pair():
    pairs = pair_distributions([gas(seed) for seed in range(20)], 8.0)
    assert [(p.center, p.neighbor) for p in pairs] == [("Ar", "Ar"), ("Ar", "Ne"), ("Ne", "Ar"), ("Ne", "Ne")]
    for pair in pairs:
        assert_allclose(pair.values[pair.distances > 4].mean(), 1.0, atol=0.01)


def test_fluorite_has_its_coordination_both_ways():
    atoms = bulk("CaF2", "fluorite", a=5.46, cubic=True) * (3, 3, 3)
    assert coordination(atoms) == {"Ca-Ca": 12, "Ca-F": 8, "F-Ca": 4, "F-F": 6}


def test_diamond_has_its_coordination():
    assert coordination(bulk("Si", "diamond", a=5.43, cubic=True) * (3, 3, 3)) == {"Si-Si": 4}


def test_distribution_is_that_of_ase():
    atoms = gas(3, "Ar200")
    pair = pair_distributions([atoms], 8.0)[0]
    values, distances = get_rdf(atoms, 8.0, round(8.0 / BIN))
    assert_allclose(pair.distances, distances)
    assert_allclose(pair.values[1:], values[1:] * 200 / 199, atol=1e-10)  # ASE counts an atom among its own neighbors


def test_running_number_is_the_number_of_neighbors():
    atoms = gas(4, "Ar200")
    pair = pair_distributions([atoms], 8.0)[0]
    distances = atoms.get_all_distances(mic=True)
    assert pair.running[-1] == pytest.approx(((distances < 8.0).sum() - 200) / 200)


def test_reach_is_half_the_height_of_a_slanted_cell():
    slanted = Atoms("H", cell=[[10, 0, 0], [8, 8, 0], [0, 0, 30]], pbc=True)
    assert reach(slanted) == pytest.approx(0.5 * 80 / np.hypot(8, 8))
