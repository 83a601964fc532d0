"""How well a committee's spread tells its error.

The deviation of an atom is that of the pair style, d = sqrt(1/K sum_k |F_k - mean F|^2) (docs/lammps.md), that of an
energy likewise.  If errors are normal with standard deviation sigma = s d (per component of a vector: d/sqrt(3)), then

    scale         s^2 = <error^2 / sigma_1^2>                 what the deviation is to be multiplied by
    reliability   rms error against rms deviation in bins of equal count: the diagonal, when calibrated
    ENCE          mean over bins of |rms error - rms sigma| / rms sigma          (Levi et al., Sensors 22, 5540, 2022)
    miscalibration area   integral over p of |share of errors inside the central interval of probability p  -  p|
                                                              (Kuleshov, Fenner and Ermon, ICML 2018); 0.5 at most
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import trapezoid
from scipy.stats import norm, pearsonr, spearmanr

from allegro_dist.data.structure import Array
from allegro_dist.report.predictions import Predictions

PROBABILITIES = np.linspace(0.0, 1.0, 101)
MIN_ERRORS = 10
FLOOR = 1e-3
"""Of the root mean square deviation: what deviates less is at rest by symmetry, or alone, in every model."""


@dataclass(frozen=True)
class Calibration:
    """Of n errors whose standard deviations were told."""

    count: int
    num_left_out: int  # whose deviation is below the floor
    spearman: float  # rank correlation of |error| with deviation
    pearson: float
    scale: float
    ence: float  # as told
    ence_scaled: float  # after multiplication by `scale`
    miscalibration_area: float
    miscalibration_area_scaled: float
    bin_sigma: Array  # [B] root mean square of sigma in each bin
    bin_error: Array  # [B] root mean square of the errors
    inside: Array  # [101] share of the errors inside the central interval of each of PROBABILITIES
    inside_scaled: Array


def calibrate(errors: Array, sigmas: Array, num_bins: int = 10) -> Calibration:
    """Compare errors with their told standard deviations; those of next to no deviation are left out.

    Args:
        errors: [n, D] vectors of errors with independent components (D = 1: scalars).
        sigmas: [n] standard deviation of a component.

    Raises ValueError for fewer than MIN_ERRORS that deviate.
    """
    deviating = sigmas > FLOOR * np.sqrt((sigmas**2).mean()) if len(sigmas) else sigmas > 0
    num_left_out = int((~deviating).sum())
    errors, sigmas = errors[deviating], sigmas[deviating]
    if len(errors) < MIN_ERRORS:
        raise ValueError(f"expected {MIN_ERRORS} or more values in which models differ, got {len(errors)}")
    sizes = np.linalg.norm(errors, axis=1)
    scores = np.abs(errors / sigmas[:, None]).ravel()
    scale = float(np.sqrt((scores**2).mean()))
    bins = np.array_split(np.argsort(sigmas), min(num_bins, len(sigmas) // 2))
    bin_sigma = np.array([np.sqrt((sigmas[b] ** 2).mean()) for b in bins])
    bin_error = np.array([np.sqrt((errors[b] ** 2).mean()) for b in bins])
    inside, inside_scaled = _inside(scores), _inside(scores / scale)
    return Calibration(
        count=len(errors),
        num_left_out=num_left_out,
        spearman=float(spearmanr(sizes, sigmas).statistic),
        pearson=float(pearsonr(sizes, sigmas).statistic),
        scale=scale,
        ence=_relative_gap(bin_error, bin_sigma),
        ence_scaled=_relative_gap(bin_error, scale * bin_sigma),
        miscalibration_area=_area(inside),
        miscalibration_area_scaled=_area(inside_scaled),
        bin_sigma=bin_sigma,
        bin_error=bin_error,
        inside=inside,
        inside_scaled=inside_scaled,
    )


def calibrations(p: Predictions) -> dict[str, Calibration | str]:
    """Of forces and energies per atom; why there is none, where there is none."""
    told: dict[str, Calibration | str] = {}
    for name, of in (("forces", force_calibration), ("energy_per_atom", energy_calibration)):
        try:
            told[name] = of(p)
        except ValueError as error:
            told[name] = str(error)
    return told


def force_calibration(p: Predictions) -> Calibration:
    """Of the forces on all labelled atoms; raises as `calibrate`."""
    deviation = np.sqrt(((p.forces - p.forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0))
    return _of_known(p.force_error, deviation / np.sqrt(3))


def energy_calibration(p: Predictions) -> Calibration:
    """Of the energies per atom of all labelled frames; raises as `calibrate`."""
    return _of_known(p.energy_error[:, None], p.energy.std(axis=0) / p.num_atoms)


def _of_known(errors: Array, sigmas: Array) -> Calibration:
    known = np.isfinite(errors).all(axis=1)
    return calibrate(errors[known], sigmas[known])


def _inside(scores: Array) -> Array:
    """Share of |error|/sigma within the central interval of each probability."""
    return np.searchsorted(np.sort(scores), norm.ppf(0.5 + 0.5 * PROBABILITIES), side="right") / len(scores)


def _area(inside: Array) -> float:
    return float(trapezoid(np.abs(inside - PROBABILITIES), PROBABILITIES))


def _relative_gap(error: Array, sigma: Array) -> float:
    return float((np.abs(error - sigma) / sigma).mean())
