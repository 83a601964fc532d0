"""The 2022 form of Allegro in LAMMPS, by the TorchScript evaluator, against its Python form."""

from __future__ import annotations

import numpy as np
import pytest

from allegro_dist.deploy.archive import save_archive
from tests.conftest import MIXED_CUTOFFS, TYPE_NAMES, make_potential
from tests.lammps.lammps_run import pair_allegro, run_lammps
from tests.lammps.test_against_python import evaluate
from tests.lammps.test_errors import coeff, failure


@pytest.fixture(scope="module")
def potential():
    shape = {"num_layers": 3, "num_tensor_features": 8, "num_scalar_features": 16}
    return make_potential(family="allegro-2022", pair_cutoffs=MIXED_CUTOFFS, zbl=True, **shape)


@pytest.fixture(scope="module")
def archive(potential, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "model.pth"
    save_archive(path, potential)
    return path


@pytest.mark.parametrize("ranks, options", [(1, ""), (2, "memory 1M")])
def test_lammps_equals_python(potential, archive, triclinic_silica, ranks, options, tmp_path):
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair_allegro(archive, TYPE_NAMES, options), ranks=ranks)
    expected = evaluate(potential, triclinic_silica)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.virial, expected.virial, rtol=0, atol=1e-6 * np.abs(expected.virial).max())


def test_fused_evaluator_is_refused(archive, tmp_path):
    assert "holds no program for it" in failure(tmp_path, coeff(archive, options="evaluator fused"))
