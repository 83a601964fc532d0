"""Averages of correlated series, with standard errors by blocking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FEWEST_BLOCKS = 4


@dataclass(frozen=True)
class Average:
    """A mean and its standard error; None where the series is too short to tell."""

    value: float
    error: float | None

    def __str__(self) -> str:
        """The error to two figures, the value to as many places."""
        if self.error is None or not self.error > 0:
            return f"{self.value:.6g}"
        places = max(0, 1 - math.floor(math.log10(self.error)))
        return f"{self.value:.{places}f} ± {self.error:.{places}f}"


def average(series: ArrayLike) -> Average:
    """Mean of a correlated series, its error from means of blocks (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461).

    The length of blocks is the smallest B of 1, 2, 4... with B^3 > 2 n (error_B / error_1)^4, which balances what is
    left of the correlation against the noise of the error itself (Lee et al., Phys. Rev. E 83, 066706).  No error is
    given where no B leaves FEWEST_BLOCKS.
    """
    x = np.asarray(series, dtype=float)
    value, num_points, size = float(x.mean()), len(x), 1
    first = None
    while len(x) >= FEWEST_BLOCKS:
        error = float(x.std(ddof=1)) / math.sqrt(len(x))
        first = error if first is None else first
        if error == 0 or size**3 > 2 * num_points * (error / first) ** 4:
            return Average(value, error)
        x, size = (x[: len(x) // 2 * 2]).reshape(-1, 2).mean(axis=1), 2 * size
    return Average(value, None)


def of_blocks(values: ArrayLike) -> Average:
    """Mean and standard error of what was found in independent blocks."""
    x = np.asarray(values, dtype=float)
    return Average(float(x.mean()), float(x.std(ddof=1)) / math.sqrt(len(x)))
