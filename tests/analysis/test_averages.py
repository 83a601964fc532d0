"""Errors of averages against closed forms for series of known correlation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from allegro_dist.analysis.averages import Average, average, of_blocks


@pytest.mark.parametrize("memory", [0.0, 0.8, 0.95])
def test_error_of_autoregressive_noise_is_the_closed_form(memory):
    size = 2**16
    noise = lfilter([1.0], [1.0, -memory], np.random.default_rng(0).normal(size=(8, size)), axis=1)
    expected = 1 / (1 - memory) / size**0.5  # of the mean of x[t] = memory x[t-1] + normal, for a long series
    errors = [average(series).error for series in noise]
    assert np.mean(errors) == pytest.approx(expected, rel=0.1)


def test_series_shorter_than_its_correlation_has_no_error():
    assert average(np.arange(64.0)) == Average(31.5, None)


def test_constant_series_has_no_error_to_show():
    assert str(average([2.5] * 10)) == "2.5"


def test_error_of_blocks_is_that_of_a_mean():
    found = of_blocks([1.0, 2.0, 3.0])
    assert found.value == 2.0 and found.error == pytest.approx(3**-0.5)


@pytest.mark.parametrize("value, error, text", [(12.3456, 0.0213, "12.346 ± 0.021"), (601.72, 153.0, "602 ± 153"),
                                                (-1.0, None, "-1")])  # fmt: skip
def test_average_is_written_to_its_error(value, error, text):
    assert str(Average(value, error)) == text
