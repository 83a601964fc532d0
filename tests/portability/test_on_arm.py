"""The baseline kernels on ARM (compiled for it, and run by an emulator) against the Python model and this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from allegro_dist.deploy.archive import save_archive
from allegro_dist.engine import Engine
from allegro_dist.fused_program import fused_program
from allegro_dist.training.fused_step import FusedStep
from tests.conftest import MIXED_CUTOFFS, edges_of, make_potential
from tests.deploy.neighborhoods import OPTIONS, interaction, neighborhoods, reference, rms
from tests.deploy.test_fused_program import EVERYTHING, small_potential
from tests.portability.arm import ArmEngine, ArmTrainingKernel, missing_packages
from tests.training.test_fused_step import assert_same, graph_of, results

SILICON = Path(__file__).resolve().parents[2] / "examples" / "silicon" / "si.pth"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_packages()), reason=f"install {' '.join(missing_packages())}"),
]


def assert_is_the_model(potential, path, tolerance: float, **options) -> None:
    save_archive(path, potential)
    block = neighborhoods(potential)
    engine = ArmEngine(path, **options)
    energy, gradient = reference(potential, *block)
    got_energy, got_gradient = engine.evaluate(*block)
    assert engine.evaluator.startswith("fused baseline")
    assert rms(got_gradient - gradient) < tolerance * rms(gradient)
    # shifts of hundreds of eV leave 1e-13 of rounding in energies
    scale = rms(interaction(potential, energy, block[0]))
    assert rms(got_energy - energy) < tolerance * scale + 2e-13 * np.abs(energy).max()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_energies_and_gradients_in_float64(options, tmp_path):
    assert_is_the_model(make_potential(2, **options), tmp_path / "model.pth", 1e-12)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_energies_and_gradients_in_float32(options, tmp_path):
    # random layers amplify rounding, on every machine: in the deepest model to 2e-5 with AVX2
    tolerance = 5e-6 if options.get("num_layers", 2) <= 2 else 3e-5
    assert_is_the_model(make_potential(2, **options), tmp_path / "model.pth", tolerance, dtype="float32")


@pytest.mark.parametrize("dtype, tolerance", (("float64", 1e-12), ("float32", 5e-6)))
def test_tables_are_those_of_this_machine(dtype, tolerance, tmp_path):
    potential = make_potential(1, pair_cutoffs=MIXED_CUTOFFS)
    save_archive(tmp_path / "model.pth", potential)
    block = neighborhoods(potential)
    energy, gradient = Engine(tmp_path / "model.pth", table_intervals=64).evaluate(*block)
    engine = ArmEngine(tmp_path / "model.pth", dtype=dtype, table_intervals=64)
    got_energy, got_gradient = engine.evaluate(*block)
    assert engine.evaluator == "fused baseline, 64 intervals"
    assert rms(got_gradient - gradient) < tolerance * rms(gradient)
    assert rms(got_energy - energy) < tolerance * rms(interaction(potential, energy, block[0])) + 1e-12


@pytest.mark.parametrize("evaluator", ("fused", "torchscript"))
def test_silicon_of_the_examples(evaluator):
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(2)
    atoms.rattle(0.1, seed=1)
    vectors, edge_index, types = (t.numpy() for t in edges_of(atoms, type_names=("Si",)))
    block = types, np.searchsorted(edge_index[0], np.arange(len(types) + 1)), vectors, types[edge_index[1]]
    energy, gradient = Engine(SILICON, evaluator=evaluator).evaluate(*block)
    got_energy, got_gradient = ArmEngine(SILICON).evaluate(*block)
    assert rms(got_gradient - gradient) < 5e-6 * rms(gradient)
    assert np.abs(got_energy - energy).max() < 1e-5


def test_edge_that_is_not_finite_is_an_error(tmp_path):
    save_archive(tmp_path / "model.pth", make_potential(2))
    with pytest.raises(RuntimeError, match="not finite for a center of type Si with 1 neighbors"):
        ArmEngine(tmp_path / "model.pth").evaluate([0], [0, 1], np.array([[0.0, np.nan, 0.0]]), [1])


@pytest.mark.parametrize("dtype, tolerance", (("float64", 1e-10), ("float32", 2e-5)))
@pytest.mark.parametrize("options", ({}, EVERYTHING, dict(l_max=3, bessel_trainable=True)))
def test_training_step(options, dtype, tolerance):
    potential = small_potential(dtype=dtype, **options).train()
    graph = graph_of(potential)
    step = FusedStep(potential)
    step.kernel = ArmTrainingKernel(
        fused_program(potential), potential.dtype, train_wavenumbers=step.wavenumbers is not None
    )
    assert_same(results(step, potential, graph), results(potential, potential, graph), tolerance)
