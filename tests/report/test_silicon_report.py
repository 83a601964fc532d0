"""The DFT crystal of the embedded set against published PBE values."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.io import read
from numpy.testing import assert_allclose

from allegro_dist.report.silicon import DftCrystal, dft_crystal

DATA = Path(__file__).parents[2] / "examples" / "silicon" / "data"


@pytest.fixture(scope="module")
def dft() -> DftCrystal:
    return dft_crystal([*read(DATA / "train.xyz", ":"), *read(DATA / "test.xyz", ":")])


def test_dft_crystal_has_published_pbe_lattice_and_bulk_modulus(dft):
    """PBE: 5.47 Angstrom, 88 to 89 GPa (Haas, Tran and Blaha, Phys. Rev. B 79, 085104, 2009)."""
    assert_allclose(dft.equation_of_state.lattice_constant(), 5.47, atol=0.01)
    assert_allclose(dft.equation_of_state.bulk_modulus, 88.5, rtol=0.04)


def test_dft_crystal_bulk_modulus_agrees_between_energies_and_stresses(dft):
    assert_allclose(dft.elastic.bulk_modulus, dft.equation_of_state.bulk_modulus, rtol=0.05)


def test_dft_crystal_of_set_without_its_frames_is_refused():
    with pytest.raises(ValueError, match="no frame of group 'eos' among 3 frames"):
        dft_crystal([a for a in read(DATA / "train.xyz", ":") if a.info["group"] == "liquid"][:3])
