"""Thermal expansion: the curve through a crystal's lengths at several temperatures.

Nuclei that move classically expand a crystal linearly from zero temperature on, so the curve begins at the crystal at
rest: L(T) = L(0) (1 + c T + d T^2), fitted to (L(T)/L(0) - 1) / T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from allegro_dist.analysis.averages import Average

Array = NDArray[np.float64]
FEWEST_FOR_CURVATURE = 3


@dataclass(frozen=True)
class Expansion:
    """Lengths over temperature and the curve through them."""

    temperatures: Array  # [T] K
    lengths: list[Average]  # [T] Angstrom
    at_rest: float  # Angstrom
    coefficients: Array  # [2] c, 1/K, and d, 1/K^2
    covariance: Array | None  # [2, 2] of these; None where the lengths have no errors

    def curve(self, temperatures: ArrayLike) -> Array:
        """The fitted length, Angstrom."""
        t = np.asarray(temperatures, dtype=float)
        return np.asarray(self.at_rest * (1 + self.coefficients[0] * t + self.coefficients[1] * t**2))

    def expansion(self, temperature: float) -> Average:
        """(1/L) dL/dT, 1/K."""
        slope = np.array([1.0, 2 * temperature]) * self.at_rest / float(self.curve(temperature))
        error = None if self.covariance is None else float(np.sqrt(slope @ self.covariance @ slope))
        return Average(float(slope @ self.coefficients), error)


def fit_expansion(temperatures: ArrayLike, lengths: Sequence[Average], at_rest: float) -> Expansion:
    """The curve through lengths at one temperature or more; d is zero for fewer than FEWEST_FOR_CURVATURE.

    Errors of the coefficients come from those of the lengths, or from the scatter about the curve where that is larger.
    """
    t = np.asarray(temperatures, dtype=float)
    strains = np.array([length.value for length in lengths]) / at_rest - 1
    errors = [length.error for length in lengths]
    known = all(error is not None and error > 0 for error in errors)
    weights = t * at_rest / np.array(errors, dtype=float) if known else t  # one over the error of strain / t
    degree = 1 if len(t) >= FEWEST_FOR_CURVATURE else 0
    powers = np.vander(t, degree + 1, increasing=True)
    inverse = np.linalg.inv((powers * weights[:, None] ** 2).T @ powers)
    found = inverse @ (powers * weights[:, None] ** 2).T @ (strains / t)
    free = len(t) - len(found)
    scatter = float(((weights * (strains / t - powers @ found)) ** 2).sum()) / free if free else 1.0
    coefficients, covariance = np.zeros(2), np.zeros((2, 2))
    coefficients[: len(found)], covariance[: len(found), : len(found)] = found, inverse * max(1.0, scatter)
    return Expansion(t, list(lengths), at_rest, coefficients, covariance if known else None)
