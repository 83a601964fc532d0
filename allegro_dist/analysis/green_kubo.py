"""Viscosity and thermal conductivity as time integrals of autocorrelations (Green 1954, Kubo 1957)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import units
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid

from allegro_dist.analysis.averages import Average, of_blocks
from allegro_dist.analysis.correlation import autocorrelation

Array = NDArray[np.float64]
NUM_SEGMENTS = 10
FEWEST_SAMPLES = 40 * NUM_SEGMENTS
LOOK_AHEAD = 1.5
MILLIPASCAL_SECOND = 1e-12 * 1e3 / units.Pascal  # in eV/Angstrom^3 ps
WATT_PER_METER = units._e / 1e-12 / 1e-10  # in eV/(ps Angstrom)


@dataclass(frozen=True)
class GreenKubo:
    """A coefficient as the running integral of an autocorrelation; errors are those of independent segments of time."""

    times: Array  # [L] ps
    correlation: Array  # [L] over its value at 0
    integral: Array  # [L] in the coefficient's unit
    error: Array  # [L] its standard error
    plateau: tuple[float, float] | None  # ps; None: the integral comes to none
    coefficient: Average | None  # its mean over the plateau


def green_kubo(series: Array, interval: float, factor: float, begin: float | None = None) -> GreenKubo:
    """factor x integral of sum over components of <x(0) x(t)>.

    Args:
        series: [T, C], T at least FEWEST_SAMPLES; it is cut into NUM_SEGMENTS, lags are up to half of one.
        interval: between samples, ps.
        begin: of the plateau, ps, which ends at twice that time; None: where the integral has stopped to rise.

    Raises ValueError for a series that is too short, or a plateau beyond the lags.
    """
    if len(series) < FEWEST_SAMPLES:
        raise ValueError(f"expected {FEWEST_SAMPLES} or more samples, got {len(series)}")
    length = len(series) // NUM_SEGMENTS
    num_lags = length // 2 + 1
    segments = [series[k * length : (k + 1) * length] for k in range(NUM_SEGMENTS)]
    correlations = np.stack([autocorrelation(segment)[:num_lags] for segment in segments])
    integrals = factor * cumulative_trapezoid(correlations, dx=interval, axis=1, initial=0.0)
    mean = correlations.mean(axis=0)
    start = _plateau(integrals) if begin is None else _lag(begin / interval, num_lags, interval)
    plateau = coefficient = None
    if start is not None:
        plateau = (start * interval, 2 * start * interval)
        coefficient = of_blocks(integrals[:, start : 2 * start + 1].mean(axis=1))
    return GreenKubo(
        times=interval * np.arange(num_lags, dtype=np.float64),
        correlation=mean / mean[0] if mean[0] else mean,
        integral=integrals.mean(axis=0),
        error=_standard_error(integrals),
        plateau=plateau,
        coefficient=coefficient,
    )


def viscosity(
    pressure: Array, volume: float, temperature: float, interval: float, begin: float | None = None
) -> GreenKubo:
    """Shear viscosity of an isotropic fluid, mPa s: V / (10 k T) int <P(0):P(t)> dt, P the traceless pressure tensor.

    All of its components are used (Daivis and Evans, J. Chem. Phys. 100, 541, 1994).

    Args:
        pressure: [T, 6] xx, yy, zz, xy, xz, yz, bar.
        volume, temperature: Angstrom^3, K.
    """
    p = pressure * units.bar
    trace = p[:, :3].mean(axis=1, keepdims=True)
    components = np.concatenate([p[:, :3] - trace, np.sqrt(2) * p[:, 3:]], axis=1)  # xy and yx are two of nine
    return green_kubo(components, interval, MILLIPASCAL_SECOND * volume / (10 * units.kB * temperature), begin)


def conductivity(
    current: Array, volume: float, temperature: float, interval: float, begin: float | None = None
) -> GreenKubo:
    """Thermal conductivity, mean of the three directions, W/m/K: 1 / (3 V k T^2) int <Q(0) Q(t)> dt.

    Q is taken less its mean, which is the enthalpy that a center of mass in motion carries, as random forces leave it
    behind: conserved, it would let the integral rise forever.

    Args:
        current: [T, 3] energy current of the whole cell, eV Angstrom/ps.
        volume, temperature: Angstrom^3, K.
    """
    current = current - current.mean(axis=0)
    return green_kubo(current, interval, WATT_PER_METER / (3 * volume * units.kB * temperature**2), begin)


def _plateau(integrals: Array) -> int | None:
    """The first lag t at which [segments, L] integrals rise no further.

    From t' to 2 t' they rise by less than the standard error of that rise, for all t' from t to LOOK_AHEAD t: so an
    oscillation that returns to where it was is no plateau.
    """
    lags = np.arange(1, (integrals.shape[1] - 1) // 2 + 1)
    rises = integrals[:, 2 * lags] - integrals[:, lags]
    before = np.concatenate([[0], np.cumsum(np.abs(rises.mean(axis=0)) >= _standard_error(rises))])
    first = lags[: int(len(lags) / LOOK_AHEAD)]
    flat = before[(LOOK_AHEAD * first).astype(int)] == before[first - 1]
    return int(first[flat.argmax()]) if flat.any() else None


def _lag(begin: float, num_lags: int, interval: float) -> int:
    start = max(1, round(begin))
    if 2 * start >= num_lags:
        raise ValueError(
            f"a plateau from {start * interval:g} ps on ends beyond the lags, which are up to half a segment: "
            f"{(num_lags - 1) * interval:g} ps"
        )
    return start


def _standard_error(values: Array) -> Array:
    """Of the mean over segments, [segments, L]."""
    error: Array = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return error
