"""Crystalline order along z: of a crystal one, of atoms by lot none, of a warm crystal the Debye-Waller factor."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from numpy.testing import assert_allclose

from allegro_dist.analysis.coexistence import coexistence, order_along_z, planes_across

EDGE, REPEATS = 5.43, (4, 4, 6)
DIAMOND = bulk("Si", "diamond", a=EDGE, cubic=True)


def half_by_lot(seed: int) -> Atoms:
    """The lower half a crystal, the upper one without order."""
    atoms = DIAMOND.repeat(REPEATS)
    rng, upper = np.random.default_rng(seed), atoms.get_scaled_positions()[:, 2] >= 0.5
    scaled = atoms.get_scaled_positions()
    scaled[upper] = rng.uniform(size=(upper.sum(), 3)) * [1, 1, 0.5] + [0, 0, 0.5]
    atoms.set_scaled_positions(scaled)
    return atoms


def test_planes_of_diamond_are_220():
    """The longest waves in which all of its atoms agree; 200 is extinct."""
    assert {tuple(map(abs, pair)) for pair in planes_across(DIAMOND)} == {(2, 2)}


def test_order_of_a_crystal_at_rest_is_one_wherever_it_is():
    atoms = DIAMOND.repeat(REPEATS)
    atoms.translate([1.23, 0.4, 7.9])
    order = order_along_z(atoms, planes_across(DIAMOND), REPEATS)
    assert_allclose(order, 1 - 1 / 128, atol=0.02)  # slabs have about 128 atoms


def test_order_of_a_warm_crystal_is_its_debye_waller_factor():
    width = 0.2  # Angstrom, of each coordinate
    atoms = DIAMOND.repeat((8, 8, 6))
    atoms.rattle(width, seed=3)
    expected = np.exp(-(width**2) * 2 * (2 * 2 * np.pi / EDGE) ** 2)
    order = order_along_z(atoms, planes_across(DIAMOND), (8, 8, 6))
    assert order.mean() == pytest.approx(expected, rel=0.03)


def test_half_a_crystal_is_told_from_the_other_half():
    frames = [half_by_lot(seed) for seed in range(5)]
    found = coexistence(DIAMOND, REPEATS, [DIAMOND.repeat(REPEATS)], frames)
    assert_allclose(found.order[:, :3], 1.0, atol=0.01)
    assert_allclose(found.order[:, 3:], 0.0, atol=0.05)
    assert_allclose(found.share, 0.5, atol=0.02)


def test_cell_that_leans_is_refused():
    with pytest.raises(ValueError, match="third vector must be perpendicular to the others, got angles 60.00"):
        planes_across(bulk("Si", "diamond", a=EDGE))
