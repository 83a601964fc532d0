"""Phonons against the closed forms of an fcc crystal with springs between nearest neighbors."""

from __future__ import annotations

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from numpy.testing import assert_allclose

from tests.analysis.spring_crystal import BOND, MASS, SPRING, spring_crystal

pytest.importorskip("phonopy")
from allegro_dist.analysis.phonons import Phonons, compute_phonons, supercell_repeats  # noqa: E402


@pytest.fixture(scope="module", params=[False, True], ids=["primitive cell", "cubic cell"])
def phonons(request) -> Phonons:
    return compute_phonons(spring_crystal(cubic=request.param), 4 * BOND)


def frequency(squares: float) -> float:
    """THz of omega^2 = squares x k/m."""
    return float(np.sqrt(squares * SPRING / MASS) / (2 * np.pi) * units.s * 1e-12)


@pytest.mark.parametrize("point, transverse, longitudinal", [("X", 4, 8), ("L", 2, 8)])
def test_frequencies_at_zone_boundary_have_their_closed_form(phonons, point, transverse, longitudinal):
    segment = next(s for s in phonons.segments if s.ends[1] == point)
    expected = [frequency(transverse), frequency(transverse), frequency(longitudinal)]
    assert_allclose(segment.frequencies[-1], expected, rtol=2e-3)


def test_acoustic_frequencies_vanish_at_the_center_and_none_is_imaginary(phonons):
    assert_allclose(phonons.at_gamma, 0, atol=1e-3)
    assert phonons.lowest > -1e-3


def test_density_of_states_counts_the_modes(phonons):
    assert_allclose(np.trapezoid(phonons.density, phonons.frequency), 3, rtol=0.02)


def test_heat_capacity_is_that_of_the_density_of_states(phonons):
    """Per atom, k_B: integral g(f) x^2 e^x/(e^x - 1)^2, x = h f/(k_B T)."""
    inside = phonons.frequency > 0.01
    f, g = phonons.frequency[inside], phonons.density[inside]
    x = f * 1e12 / units.s * 2 * np.pi * units._hbar * units.J * units.s / (units.kB * 300)
    assert_allclose(phonons.heat_capacity, np.trapezoid(g * x**2 * np.exp(x) / np.expm1(x) ** 2, f), rtol=0.02)


def test_cubic_cell_is_reduced_without_a_warning(recwarn):
    found = compute_phonons(spring_crystal(cubic=True), 2 * BOND)
    assert len(found.at_gamma) == 3 and not recwarn.list


def test_supercell_is_wide_enough_along_every_face():
    atoms = bulk("Al", "fcc", a=4.0)
    repeats = supercell_repeats(atoms, 10.0)
    heights = 1 / np.linalg.norm(atoms.repeat(repeats).cell.reciprocal(), axis=1)
    assert (heights >= 10.0 - 1e-6).all() and (heights - 4.0 / np.sqrt(3) < 10.0).all()


def test_supercell_of_too_many_atoms_is_refused():
    with pytest.raises(ValueError, match="a supercell 60 Angstrom wide has 17576 atoms, 1000 at most"):
        supercell_repeats(bulk("Al", "fcc", a=4.0), 60.0)
