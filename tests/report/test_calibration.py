"""Calibration against normal errors of known standard deviation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import norm

from allegro_dist.report.calibration import calibrate, energy_calibration, force_calibration
from tests.report.made_up import made_up_predictions

N = 20_000


@pytest.fixture(scope="module")
def sigmas():
    return np.exp(np.random.default_rng(0).normal(-3, 0.8, N))


@pytest.fixture(scope="module")
def errors(sigmas):
    """Vectors of which each component has its standard deviation."""
    return sigmas[:, None] * np.random.default_rng(1).normal(size=(N, 3))


def test_true_standard_deviations_are_calibrated(errors, sigmas):
    found = calibrate(errors, sigmas)
    assert found.scale == pytest.approx(1, abs=0.01)
    assert found.ence < 0.02 and found.miscalibration_area < 0.005
    assert_allclose(found.bin_error, found.bin_sigma, rtol=0.05)


def test_overconfidence_is_found_with_its_factor_and_area(errors, sigmas):
    found = calibrate(errors, sigmas / 2)
    inside = quad(lambda p: p - (2 * norm.cdf(norm.ppf(0.5 + p / 2) / 2) - 1), 0, 1)[0]
    assert found.scale == pytest.approx(2, rel=0.01)
    assert found.ence == pytest.approx(1, rel=0.03)
    assert found.miscalibration_area == pytest.approx(inside, abs=0.005)
    assert found.ence_scaled < 0.02 and found.miscalibration_area_scaled < 0.005


def test_deviations_that_know_nothing_are_uncorrelated_with_errors(errors, sigmas):
    found = calibrate(errors, np.random.default_rng(2).permutation(sigmas))
    assert abs(found.spearman) < 0.03 and abs(found.pearson) < 0.03
    assert found.ence > 0.3


def test_rank_correlation_of_proportional_errors_is_one(sigmas):
    found = calibrate(2.0 * sigmas[:, None], sigmas)
    assert found.spearman == pytest.approx(1) and found.pearson == pytest.approx(1)


def test_force_deviation_is_that_of_the_pair_style():
    """sqrt(1/K sum |F_k - mean F|^2) of an atom, a component's share of it: 1/sqrt(3)."""
    p = made_up_predictions(num_atoms=(10,), types=[0] * 10, groups=("a",), compositions=("Si",), num_models=3)
    mean = sum(p.forces[k] for k in range(3)) / 3
    deviation = np.array(
        [np.sqrt(sum(np.sum((p.forces[k, a] - mean[a]) ** 2) for k in range(3)) / 3) for a in range(10)]
    )
    expected = np.sqrt(np.mean((mean - p.reference_forces) ** 2 / (deviation**2 / 3)[:, None]))
    assert force_calibration(p).scale == pytest.approx(expected)


def test_energy_deviation_is_per_atom():
    p = made_up_predictions([2] * 12, [0] * 24, ["a"] * 12, ["Si"] * 12, num_models=3)
    error, sigma = p.energy.mean(axis=0) - p.reference_energy, p.energy.std(axis=0)
    assert energy_calibration(p).scale == pytest.approx(np.sqrt(np.mean((error / sigma) ** 2)))


def test_frames_without_labels_are_left_out():
    p = made_up_predictions([2] * 12, [0] * 24, ["a"] * 12, ["Si"] * 12, num_models=3)
    energy = p.reference_energy.copy()
    energy[0] = np.nan
    assert energy_calibration(replace(p, reference_energy=energy)).count == 11


def test_atoms_at_rest_by_symmetry_are_left_out(errors, sigmas):
    symmetric = np.full(500, 1e-9)
    found = calibrate(np.concatenate([errors, np.full((500, 3), 1e-5)]), np.concatenate([sigmas, symmetric]))
    assert found.num_left_out == 500 and found.scale == pytest.approx(1, abs=0.01)


def test_equal_models_are_refused():
    with pytest.raises(ValueError, match="expected 10 or more values in which models differ, got 0"):
        calibrate(np.ones((20, 3)), np.zeros(20))


def test_few_errors_are_refused():
    with pytest.raises(ValueError, match="expected 10 or more values in which models differ, got 3"):
        calibrate(np.ones((3, 3)), np.ones(3))
