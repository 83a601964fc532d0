"""Displacements and spectra against walks and oscillators whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from allegro_dist.analysis.correlation import autocorrelation
from allegro_dist.analysis.motion import (
    diffusion,
    mean_square_displacement,
    vibrations,
)

INTERVAL = 0.004  # ps


def walk(num_frames: int, num_atoms: int, step: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, step, (num_frames, num_atoms, 3)).cumsum(axis=0) + 1000.0


def oscillators(frequencies: np.ndarray, num_frames: int, amplitude: float = 1.0) -> np.ndarray:
    """[T, N, 3] velocities of an oscillator for each frequency (THz), at random phases."""
    phases = np.random.default_rng(0).random((len(frequencies), 3))
    turns = np.arange(num_frames)[:, None, None] * INTERVAL * frequencies[:, None] + phases
    return amplitude * np.cos(2 * np.pi * turns)


def test_displacement_is_the_double_sum():
    positions = walk(30, 4, 0.5)
    direct = [((positions[lag:] - positions[: 30 - lag]) ** 2).sum(axis=2).mean() for lag in range(30)]
    assert_allclose(mean_square_displacement(positions), direct, atol=1e-9)


def test_autocorrelation_is_the_double_sum():
    series = np.random.default_rng(1).normal(size=(25, 1000, 3))
    direct = [(series[lag:] * series[: 25 - lag]).sum(axis=(1, 2)).mean() for lag in range(25)]
    assert_allclose(autocorrelation(series), direct, rtol=1e-9, atol=1e-8)


def test_diffusion_of_random_walk_is_within_its_error():
    step = 0.3
    exact = step**2 / 2 / INTERVAL
    found = [diffusion(walk(1000, 40, step, seed), INTERVAL).coefficient for seed in range(12)]
    deviations = np.array([(d.value - exact) / d.error for d in found])
    assert np.sqrt((deviations**2).mean()) == pytest.approx(np.sqrt(2), abs=0.8)  # Student's t of 5 blocks: variance 2
    assert all(d.error < 0.1 * exact for d in found)


def test_random_walk_has_exponent_one():
    assert diffusion(walk(1000, 40, 0.3), INTERVAL).exponent == pytest.approx(1.0, abs=0.05)


def test_free_flight_has_exponent_two():
    velocity = np.random.default_rng(2).normal(size=(10, 3))
    flight = np.arange(100)[:, None, None] * velocity
    assert diffusion(flight, INTERVAL).exponent == pytest.approx(2.0)


def test_diffusion_of_few_frames_is_refused():
    with pytest.raises(ValueError, match="diffusion: expected 50 or more frames, got 49"):
        diffusion(walk(49, 2, 1.0), INTERVAL)


def test_spectrum_has_the_frequencies_of_oscillators():
    velocities = oscillators(np.repeat([10.0, 40.0], 50), 1000)
    found = vibrations(velocities, np.ones(100), ["C"] * 50 + ["H"] * 50, INTERVAL)
    resolution = found.frequencies[1]
    assert found.frequencies[found.by_type["C"].argmax()] == pytest.approx(10.0, abs=resolution)
    assert found.frequencies[found.by_type["H"].argmax()] == pytest.approx(40.0, abs=resolution)


def test_spectrum_shares_one_by_kinetic_energy():
    velocities = np.concatenate([oscillators(np.full(20, 10.0), 1000), oscillators(np.full(20, 40.0), 1000, 2.0)], 1)
    found = vibrations(velocities, np.repeat([12.0, 1.0], 20), ["C"] * 20 + ["H"] * 20, INTERVAL)
    shares = {name: np.trapezoid(density, found.frequencies) for name, density in found.by_type.items()}
    assert shares["C"] == pytest.approx(0.75, abs=0.01) and shares["H"] == pytest.approx(0.25, abs=0.01)
    assert np.trapezoid(found.density, found.frequencies) == pytest.approx(1.0, abs=0.01)


def test_velocity_autocorrelation_of_oscillators_is_the_cosine():
    found = vibrations(oscillators(np.full(200, 5.0), 800), np.ones(200), ["Si"] * 200, INTERVAL)
    assert_allclose(found.correlation, np.cos(2 * np.pi * 5.0 * found.times), atol=0.02)
