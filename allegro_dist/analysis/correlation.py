"""Autocorrelation of series in time, by FFT."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

Array = NDArray[np.float64]
COLUMNS_AT_ONCE = 3 * 512


def autocorrelation(series: Array) -> Array:
    """[T] sum over components of <x(0) x(t)>, averaged over origins in time; series: [T, ...]."""
    flat = series.reshape(len(series), -1)
    size = next_fast_len(2 * len(flat), real=True)  # zeros behind: the end must not meet the beginning
    power = np.zeros(size // 2 + 1)
    for start in range(0, flat.shape[1], COLUMNS_AT_ONCE):
        power += (np.abs(rfft(flat[:, start : start + COLUMNS_AT_ONCE], size, axis=0)) ** 2).sum(axis=1)
    correlation: Array = irfft(power, size)[: len(flat)] / np.arange(len(flat), 0, -1)
    return correlation
