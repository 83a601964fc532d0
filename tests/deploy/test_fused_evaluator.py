"""The fused evaluator against the Python model, through the compiled engine: every option, every instruction set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from allegro_dist.config import AllegroConfig
from allegro_dist.deploy.archive import save_archive
from allegro_dist.engine import Engine
from allegro_dist.potential import build_potential
from tests.conftest import MIXED_CUTOFFS, make_potential
from tests.deploy.neighborhoods import OPTIONS, interaction, neighborhoods, reference, rms

INSTRUCTION_SETS = ("baseline", "avx2", "avx512")


def open_fused(path, **options) -> Engine:
    return Engine(path, evaluator="fused", **options)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Three types with cutoffs of their own; the archive."""
    potential = make_potential(1, pair_cutoffs=MIXED_CUTOFFS, num_tensor_features=24)
    path = tmp_path_factory.mktemp("fused") / "mixed.pth"
    save_archive(path, potential)
    return potential, path


# The GPU's code played by the host: every option exact and, where it differs, by tables.
@pytest.mark.parametrize("device", ("cpu", "emulated"))
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_fused_matches_the_model_in_float64(options, device, tmp_path):
    potential = make_potential(2, **options)
    if options.get("bessel_trainable"):
        with torch.no_grad():
            potential.model.embedding.wavenumbers += 0.1 * torch.rand(8)
    save_archive(tmp_path / "model.pth", potential)
    block = neighborhoods(potential)
    energy, gradient = reference(potential, *block)
    engine = open_fused(tmp_path / "model.pth", device=device)
    assert ("emulated" in engine.evaluator) == (device == "emulated")
    got_energy, got_gradient = engine.evaluate(*block)
    scale = rms(interaction(potential, energy, block[0]))
    # shifts of hundreds of eV leave 1e-13 of rounding in energies
    assert np.abs(got_energy - energy).max() < 1e-12 * scale + 2e-13 * np.abs(energy).max()
    assert np.abs(got_gradient - gradient).max() < 2e-11 * rms(gradient)
    assert rms(got_gradient - gradient) < 1e-12 * rms(gradient)


@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("intervals", (0, 256))
def test_fused_instruction_sets_agree_with_the_model(instruction_set, dtype, intervals, mixed):
    potential, path = mixed
    block = neighborhoods(potential)
    try:
        engine = open_fused(path, instruction_set=instruction_set, dtype=dtype, table_intervals=intervals)
    except ValueError as error:
        pytest.skip(str(error))
    assert instruction_set in engine.evaluator
    energy, gradient = reference(potential, *block)
    got_energy, got_gradient = engine.evaluate(*block)
    tolerance = 5e-6 if dtype == "float32" else 1e-12
    if intervals:  # random weights and edges of 0.5 Angstrom are harder on a table than any trained model
        tolerance = max(tolerance, 2e-6)
    assert rms(got_gradient - gradient) < tolerance * rms(gradient)
    assert rms(got_energy - energy) < tolerance * rms(interaction(potential, energy, block[0])) + 1e-12


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_fused_gpu_code_with_tables_equals_the_cpu_kernel(options, tmp_path):
    potential = make_potential(2, **options)
    save_archive(tmp_path / "model.pth", potential)
    block = neighborhoods(potential)
    energy, gradient = open_fused(tmp_path / "model.pth", table_intervals=32).evaluate(*block)
    emulated = open_fused(tmp_path / "model.pth", table_intervals=32, device="emulated")
    assert emulated.evaluator == "fused emulated, 32 intervals"
    got_energy, got_gradient = emulated.evaluate(*block)
    assert np.abs(got_energy - energy).max() < 2e-13 * np.abs(energy).max()
    assert np.abs(got_gradient - gradient).max() < 2e-11 * rms(gradient)
    assert rms(got_gradient - gradient) < 1e-12 * rms(gradient)


@pytest.mark.parametrize("intervals", (0, 256))
def test_fused_gpu_code_in_float32(intervals, mixed):
    potential, path = mixed
    block = neighborhoods(potential)
    energy, gradient = reference(potential, *block)
    engine = open_fused(path, device="emulated", dtype="float32", table_intervals=intervals)
    got_energy, got_gradient = engine.evaluate(*block)
    assert rms(got_gradient - gradient) < 5e-6 * rms(gradient)
    assert rms(got_energy - energy) < 5e-6 * rms(interaction(potential, energy, block[0]))


@pytest.mark.parametrize("num_threads", (2, 3))
def test_fused_results_do_not_depend_on_threads_or_blocks(num_threads, mixed):
    potential, path = mixed
    types, offsets, vectors, neighbors = neighborhoods(potential, num_centers=150)
    energy, gradient = open_fused(path).evaluate(types, offsets, vectors, neighbors)
    again = open_fused(path, num_threads=num_threads).evaluate(types, offsets, vectors, neighbors)
    assert np.array_equal(again[0], energy) and np.array_equal(again[1], gradient)
    part = offsets[70]
    alone = open_fused(path).evaluate(types[70:], offsets[70:] - part, vectors[part:], neighbors[part:])
    assert np.array_equal(alone[0], energy[70:]) and np.array_equal(alone[1], gradient[part:])


def test_fused_edges_beyond_the_cutoff_add_nothing(mixed):
    _, path = mixed
    for intervals in (0, 64):
        engine = open_fused(path, table_intervals=intervals)
        lone = engine.evaluate(np.array([0]), np.array([0, 0]), np.zeros((0, 3)), np.zeros(0, dtype=int))[0]
        far = np.array([[5.0, 0.0, 0.0], [0.0, 7.5, 0.0], [0.0, 0.0, 1e12]])
        energy, gradient = engine.evaluate(np.array([0]), np.array([0, 3]), far, np.array([0, 1, 0]))
        assert energy[0] == lone[0] and not gradient.any()


@pytest.mark.parametrize("intervals", (0, 64))
@pytest.mark.parametrize("device", ("cpu", "emulated"))
@pytest.mark.parametrize("value", (np.nan, np.inf))
def test_fused_edge_that_is_not_finite_is_an_error(value, device, intervals, mixed):
    engine = open_fused(mixed[1], device=device, table_intervals=intervals)
    with pytest.raises(RuntimeError, match="not finite for a center of type Si with 1 neighbors"):
        engine.evaluate([0], [0, 1], [[0.0, value, 0.0]], [1])


@pytest.mark.parametrize("device", ("cpu", "emulated"))
def test_fused_center_with_more_edges_than_a_chunk(device, mixed):
    potential, path = mixed
    rng = np.random.default_rng(5)
    vectors = rng.uniform(-2.0, 2.0, (900, 3))
    block = (np.array([1]), np.array([0, 900]), vectors, rng.integers(3, size=900))
    energy, gradient = reference(potential, *block)
    got_energy, got_gradient = open_fused(path, device=device).evaluate(*block)
    assert got_energy == pytest.approx(energy, rel=1e-12)
    assert np.abs(got_gradient - gradient).max() < 1e-11 * np.abs(gradient).max()


def test_fused_many_types(tmp_path):
    names = ("Si", "O", "H", "C", "N", "Fe", "Cu", "Au")
    torch.manual_seed(0)
    potential = build_potential(
        replace(AllegroConfig(dtype="float64"), num_tensor_features=16),
        type_names=names,
        avg_num_neighbors=30.0,
        per_type_scale=[0.5 + 0.1 * k for k in range(8)],
        per_type_shift=[-10.0 * k for k in range(8)],
    ).eval()
    save_archive(tmp_path / "model.pth", potential)
    block = neighborhoods(potential)
    energy, gradient = reference(potential, *block)
    got_energy, got_gradient = open_fused(tmp_path / "model.pth").evaluate(*block)
    assert np.abs(got_energy - energy).max() < 1e-12 * np.abs(energy).max()
    assert rms(got_gradient - gradient) < 1e-12 * rms(gradient)
