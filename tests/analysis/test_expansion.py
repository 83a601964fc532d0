"""The curve through lengths over temperature against the curve that they were made from, and against scatter by lot."""

from __future__ import annotations

import numpy as np
import pytest

from allegro_dist.analysis.averages import Average
from allegro_dist.analysis.expansion import fit_expansion

REST, LINEAR, SQUARE = 5.43, 4e-6, -5e-10
TEMPERATURES = np.array([300.0, 600.0, 900.0, 1200.0])


def lengths(error: float | None, noise: np.ndarray | float = 0.0) -> list[Average]:
    exact = REST * (1 + LINEAR * TEMPERATURES + SQUARE * TEMPERATURES**2)
    return [Average(float(value), error) for value in exact + noise]


def test_expansion_is_the_slope_of_the_curve():
    found = fit_expansion(TEMPERATURES, lengths(1e-4), REST)
    length = 1 + LINEAR * 700 + SQUARE * 700**2
    assert found.expansion(700).value == pytest.approx((LINEAR + 2 * SQUARE * 700) / length, rel=1e-9)
    assert found.curve(700) == pytest.approx(REST * length, rel=1e-12)


def test_error_of_the_expansion_is_its_scatter():
    error, rng = 1e-4, np.random.default_rng(0)
    found = [fit_expansion(TEMPERATURES, lengths(error, rng.normal(0, error, 4)), REST) for _ in range(2000)]
    values = [f.expansion(600) for f in found]
    assert np.std([v.value for v in values]) == pytest.approx(np.min([v.error for v in values]), rel=0.05)


def test_scatter_beyond_the_errors_enlarges_them():
    scattered = [1e-3, -1e-3, 1e-3, -1e-3]
    one, other = (fit_expansion(TEMPERATURES, lengths(1e-4, noise), REST) for noise in (0.0, np.array(scattered)))
    assert other.expansion(600).error > 5 * one.expansion(600).error


def test_lengths_without_errors_give_none():
    found = fit_expansion(TEMPERATURES, lengths(None), REST)
    assert found.expansion(600) == Average(pytest.approx(LINEAR + 2 * SQUARE * 600, rel=0.01), None)


def test_one_temperature_gives_a_constant_coefficient():
    found = fit_expansion([300.0], [Average(REST * (1 + 300 * LINEAR), 1e-4)], REST)
    assert found.expansion(0.0).value == pytest.approx(LINEAR)
    assert found.expansion(0.0).error == pytest.approx(1e-4 / REST / 300)
