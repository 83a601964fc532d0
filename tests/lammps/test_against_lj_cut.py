"""The pair style with a Lennard-Jones archive against LAMMPS's own lj/cut: an outside witness for every quantity."""

from __future__ import annotations

import numpy as np
import pytest

from tests.lammps.lammps_run import pair_allegro, run_lammps
from tests.lammps.lennard_jones import TYPE_NAMES, pair_lj_cut


@pytest.fixture(scope="module", params=[1, 3])
def both(request, lj_archive, mixed_crystal, tmp_path_factory):
    """(ours, theirs) after ten steps, on one rank and on three."""
    folder, pair = tmp_path_factory.mktemp("lj"), pair_allegro(lj_archive, TYPE_NAMES, "block 500")
    ours = run_lammps(folder, mixed_crystal, TYPE_NAMES, pair, ranks=request.param, steps=10)
    return ours, run_lammps(folder, mixed_crystal, TYPE_NAMES, pair_lj_cut(), ranks=1, steps=10)


def test_energy_equals_lj_cut(both):
    ours, theirs = both
    assert ours.energy == pytest.approx(theirs.energy, rel=1e-12)


def test_trajectory_equals_lj_cut(both):
    ours, theirs = both
    np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-11)
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-11)


def test_virial_equals_lj_cut(both):
    ours, theirs = both
    np.testing.assert_allclose(ours.virial, theirs.virial, rtol=1e-11, atol=1e-10)


def test_atomic_energies_equal_lj_cut(both):
    ours, theirs = both
    np.testing.assert_allclose(ours.energies, theirs.energies, atol=1e-12)


def test_atomic_virials_equal_lj_cut(both):
    ours, theirs = both
    np.testing.assert_allclose(ours.virials, theirs.virials, atol=1e-11)
