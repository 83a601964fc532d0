"""Crystal properties against closed forms (fcc, springs between nearest neighbors) and published Tersoff silicon."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.morse import MorsePotential
from ase.calculators.tersoff import Tersoff, TersoffParameters
from numpy.testing import assert_allclose

from allegro_dist.analysis.crystal import (
    CrystalError,
    ElasticTensor,
    cubic_average,
    elastic_tensor,
    equation_of_state,
    relaxed_crystal,
)
from tests.analysis.spring_crystal import DEPTH, EDGE, RHO, SPRING, spring_crystal

TERSOFF_SILICON = TersoffParameters(
    m=3.0, gamma=1.0, lambda3=0.0, c=100390.0, d=16.217, h=-0.59825, n=0.78734, beta=1.1e-6, lambda2=1.73222,
    B=471.18, R=2.85, D=0.15, lambda1=2.4799, A=1830.8,
)  # fmt: skip
"""J. Tersoff, Phys. Rev. B 38, 9902 (1988)."""


def test_relaxed_crystal_finds_the_spring_length():
    crystal = relaxed_crystal(spring_crystal(scale=1.02), spring_crystal().calc)
    assert_allclose(crystal.cell.lengths(), EDGE / np.sqrt(2), rtol=1e-5)


def test_elastic_tensor_of_springs_has_their_closed_form():
    """C11 = 2 k/a, C12 = C44 = k/a (Born and Huang, central forces between nearest neighbors)."""
    tensor = elastic_tensor(spring_crystal())
    unit = SPRING / EDGE / units.GPa
    assert tensor.is_cubic and tensor.is_stable
    for found in (tensor.clamped, tensor.relaxed):
        assert_allclose(found, cubic_average(found), atol=1e-3 * unit)
        assert_allclose([found[0, 0], found[0, 1], found[3, 3]], [2 * unit, unit, unit], rtol=2e-3)
    assert_allclose(tensor.bulk_modulus, 4 / 3 * unit, rtol=2e-3)


def test_equation_of_state_of_springs_has_their_closed_form():
    """B = 4 k/(3 a), and for a Morse bond dB/dP = 1 + rho."""
    curve = equation_of_state(spring_crystal())
    assert_allclose(curve.energy, -6 * DEPTH, rtol=1e-4)
    assert_allclose(curve.volume, EDGE**3 / 4, rtol=1e-3)
    assert_allclose(curve.bulk_modulus, 4 / 3 * SPRING / EDGE / units.GPa, rtol=0.01)
    assert_allclose(curve.bulk_modulus_slope, 1 + RHO, rtol=0.05)


def test_elastic_tensor_of_tersoff_silicon_is_the_published_one():
    """142.5, 75.4 and 69.0 GPa, 118.8 with clamped atoms (Balamane, Halicioglu and Tiller, Phys. Rev. B 46, 2250)."""
    calculator = Tersoff({("Si", "Si", "Si"): TERSOFF_SILICON})
    tensor = elastic_tensor(relaxed_crystal(bulk("Si", "diamond", a=5.43), calculator))
    relaxed = cubic_average(tensor.relaxed)
    assert_allclose([relaxed[0, 0], relaxed[0, 1], relaxed[3, 3]], [142.5, 75.4, 69.0], rtol=0.01)
    assert_allclose(cubic_average(tensor.clamped)[3, 3], 118.8, rtol=0.01)


def test_shear_modulus_of_polycrystal_is_between_the_cubic_bounds():
    """Voigt (C11 - C12 + 3 C44)/5, Reuss 5 (C11 - C12) C44 / (4 C44 + 3 (C11 - C12)); copper, Simmons and Wang."""
    c11, c12, c44 = 168.4, 121.4, 75.4
    copper = np.diag([c11 - c12] * 3 + [c44] * 3)
    copper[:3, :3] += c12
    bounds = ((c11 - c12 + 3 * c44) / 5, 5 * (c11 - c12) * c44 / (4 * c44 + 3 * (c11 - c12)))
    assert_allclose(ElasticTensor(copper, copper).shear_modulus, np.mean(bounds))
    assert_allclose(ElasticTensor(copper, copper).bulk_modulus, (c11 + 2 * c12) / 3)


def test_tensor_with_a_strain_that_gains_energy_is_not_stable():
    tensor = np.diag([100.0] * 5 + [-1.0])
    assert not ElasticTensor(tensor, tensor).is_stable


def test_molecule_is_no_crystal():
    with pytest.raises(CrystalError, match="periodic in three directions, got pbc \\[False, False, False\\]"):
        relaxed_crystal(Atoms("Cu2", [[0, 0, 0], [0, 0, 2]]), MorsePotential())
