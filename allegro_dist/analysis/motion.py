"""How atoms move in a simulation: mean square displacement, diffusion, velocity autocorrelation and its spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from allegro_dist.analysis.averages import Average, of_blocks
from allegro_dist.analysis.correlation import autocorrelation

Array = NDArray[np.float64]
NUM_BLOCKS, FIT = 5, (0.1, 0.5)
"""Of a diffusion coefficient: independent blocks of time, and lags, over a block's length, of the straight line."""
FEWEST_FRAMES = 10 * NUM_BLOCKS


@dataclass(frozen=True)
class Vibrations:
    """Spectrum of the velocities; the densities of types add up to `density`, whose integral is 1."""

    times: Array  # [L] ps
    correlation: Array  # [L] mass-weighted velocity autocorrelation over its value at 0
    frequencies: Array  # [L] THz
    density: Array  # [L] 1/THz
    by_type: dict[str, Array]


def mean_square_displacement(positions: Array) -> Array:
    """[T] <|r(t) - r(0)|^2> over atoms and origins in time; positions: [T, N, 3], unwrapped.

    |r(t) - r(0)|^2 = |r(t)|^2 + |r(0)|^2 - 2 r(t) r(0), the last by FFT (Kneller et al., Comput. Phys. Commun. 91,
    191).
    """
    num_frames, num_atoms, _ = positions.shape
    x = positions - positions.mean(axis=0)
    square = (x**2).sum(axis=(1, 2))
    origins, ends = square.cumsum()[::-1], square[::-1].cumsum()[::-1]
    squares = (origins + ends) / np.arange(num_frames, 0, -1)
    displacement: Array = (squares - 2 * autocorrelation(x)) / num_atoms
    return displacement


@dataclass(frozen=True)
class Diffusion:
    """D, and the exponent of the mean square displacement over the same lags, which is 1 where atoms diffuse."""

    coefficient: Average  # Angstrom^2/ps
    exponent: float


def diffusion(positions: Array, interval: float) -> Diffusion:
    """D = slope of the mean square displacement / 6; its error from NUM_BLOCKS blocks of time.

    Args:
        positions: [T, N, 3], Angstrom, T at least FEWEST_FRAMES.
        interval: between frames, ps.
    """
    if len(positions) < FEWEST_FRAMES:
        raise ValueError(f"diffusion: expected {FEWEST_FRAMES} or more frames, got {len(positions)}")
    length = len(positions) // NUM_BLOCKS
    lags = np.arange(max(1, round(FIT[0] * length)), round(FIT[1] * length) + 1)
    blocks = [positions[k * length : (k + 1) * length] for k in range(NUM_BLOCKS)]
    displacements = [mean_square_displacement(block)[lags] for block in blocks]
    slopes = [np.polyfit(lags * interval, displacement, 1)[0] for displacement in displacements]
    exponent = np.polyfit(np.log(lags), np.log(np.mean(displacements, axis=0)), 1)[0]
    return Diffusion(of_blocks(np.array(slopes) / 6), float(exponent))


def vibrations(velocities: Array, masses: Array, symbols: Sequence[str], interval: float) -> Vibrations:
    """Density of vibrational states: Fourier transform of the mass-weighted velocity autocorrelation (Hann window).

    Args:
        velocities: [T, N, 3]. Lags up to T / 2 are used, hence frequencies in steps of 1 / (T interval).
        masses: [N].
        interval: between frames, ps; frequencies above 1 / (2 interval) are folded back below it.
    """
    weighted = velocities * np.sqrt(masses)[:, None]
    num_lags = len(velocities) // 2 + 1
    names = np.array(symbols)
    by_type = {str(name): autocorrelation(weighted[:, names == name])[:num_lags] for name in np.unique(names)}
    total = sum(by_type.values(), np.zeros(num_lags))
    window = np.cos(np.linspace(0, np.pi / 2, num_lags)) ** 2
    spectra = {name: 2 * interval * dct(window * c / total[0], type=1) for name, c in by_type.items()}
    return Vibrations(
        times=interval * np.arange(num_lags, dtype=np.float64),
        correlation=total / total[0],
        frequencies=np.linspace(0, 0.5 / interval, num_lags),
        density=sum(spectra.values(), np.zeros(num_lags)),
        by_type=spectra,
    )
