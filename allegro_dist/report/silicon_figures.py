"""Pictures of the silicon demo, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from allegro_dist.analysis.fits import Drift, RadialDistribution
from allegro_dist.drawing import MODEL, QUIET, REFERENCE, new_axes, png


def plot_drift(series: Mapping[str, tuple[ArrayLike, ArrayLike]], drifts: Mapping[str, Drift]) -> bytes:
    """Total energy (eV/atom) less its mean over time (ps), a (time, energy) pair for each name, with fitted lines."""
    figure, axes = new_axes()
    for (name, pair), color in zip(series.items(), (MODEL, REFERENCE), strict=False):
        t, e = (np.asarray(x, dtype=float) for x in pair)
        axes.plot(t, 1e3 * (e - e.mean()), color=color, linewidth=0.7, alpha=0.8, label=name)
        axes.plot(t, 1e3 * drifts[name].slope * (t - t.mean()), color=color, linewidth=1.8)
    axes.set(xlabel="time, ps", ylabel="total energy less mean, meV/atom")
    axes.legend(frameon=False)
    return png(figure)


def plot_radial_distribution(curves: Mapping[str, RadialDistribution], shells: Sequence[float]) -> bytes:
    """g(r) of each name; `shells`: distances (Angstrom) of the crystal at rest, marked."""
    figure, axes = new_axes()
    for (name, curve), color in zip(curves.items(), (MODEL, REFERENCE), strict=False):
        axes.plot(curve.distances, curve.values, color=color, linewidth=1.3, label=name)
    for distance in shells:
        axes.axvline(distance, color=QUIET, linewidth=0.7, linestyle=":")
    axes.set(xlabel="distance, Å", ylabel="g(r)", ylim=(0, None), xlim=(1.5, None))
    axes.legend(frameon=False)
    return png(figure)
