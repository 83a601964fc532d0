"""Pairs of atoms in frames of a simulation: radial distribution per pair of types, and coordination numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import vesin
from ase import Atoms
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from allegro_dist.analysis.averages import Average, average

Array = NDArray[np.float64]
BIN = 0.05
"""Angstrom; and half the standard deviation with which g(r) is smoothed before its extrema are sought."""
PROMINENCE = 0.15
"""Of a peak of g(r) over the valleys beside it: less is noise."""


@dataclass(frozen=True)
class PairDistribution:
    """Neighbors of one type about centers of a type."""

    center: str
    neighbor: str
    distances: Array  # [B] centers of the bins, Angstrom
    values: Array  # [B] g(r): density of neighbors over their mean density
    running: Array  # [B] mean number of neighbors up to the bin's end
    first_minimum: float | None  # Angstrom, behind the first peak; None: g(r) has none within reach
    coordination: Average | None  # neighbors nearer than that


def reach(atoms: Atoms, longest: float = 10.0) -> float:
    """Half the smallest distance between opposite faces of a periodic cell, or `longest` (Angstrom)."""
    heights = atoms.get_volume() / np.linalg.norm(np.cross(atoms.cell[[1, 2, 0]], atoms.cell[[2, 0, 1]]), axis=1)
    return float(min(longest, heights.min() / 2))


def pair_distributions(frames: Sequence[Atoms], r_max: float) -> list[PairDistribution]:
    """g(r) of every ordered pair of types: frames are of the same atoms, periodic in all directions."""
    symbols = np.array(frames[0].get_chemical_symbols())
    names = sorted(set(symbols))
    num_bins = max(1, round(r_max / BIN))
    edges = np.linspace(0.0, r_max, num_bins + 1)
    counts = np.stack([_counts(atoms, names, symbols, edges) for atoms in frames])  # [F, T, T, B]
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    volume = 1 / np.mean([1 / atoms.get_volume() for atoms in frames])
    found = []
    for (a, center), (b, neighbor) in product(enumerate(names), repeat=2):
        # an atom is no neighbor of its own: N - 1 others make the ideal gas 1
        num_centers, num_others = (symbols == center).sum(), (symbols == neighbor).sum() - (a == b)
        if num_others == 0:
            continue
        per_center = counts[:, a, b] / num_centers  # [F, B]
        mean = per_center.mean(axis=0)
        g = mean * volume / (num_others * shells)
        minimum = _first_minimum(edges, g)
        inside = None if minimum is None else average(per_center[:, edges[1:] <= minimum].sum(axis=1))
        middles = (edges[1:] + edges[:-1]) / 2
        found.append(PairDistribution(center, neighbor, middles, g, mean.cumsum(), minimum, inside))
    return found


def _counts(atoms: Atoms, names: Sequence[str], symbols: NDArray[np.str_], edges: Array) -> Array:
    """[T, T, B] ordered pairs by types and distance."""
    types = np.searchsorted(names, symbols)
    neighbors = vesin.NeighborList(cutoff=float(edges[-1]), full_list=True, n_threads=1)
    i, j, d = neighbors.compute(atoms.positions, atoms.cell.array, list(atoms.pbc), quantities="ijd")
    i, j = i.astype(np.int64), j.astype(np.int64)
    bins = np.minimum((d / edges[1]).astype(int), len(edges) - 2)
    shape = (len(names), len(names), len(edges) - 1)
    flat = np.ravel_multi_index((types[i], types[j], bins), shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(float)


def _first_minimum(edges: Array, g: Array) -> float | None:
    """The bin's end at the bottom of the first valley; the middle of a bottom that is flat."""
    smooth = gaussian_filter1d(g, 2.0, mode="constant")
    peaks, _ = find_peaks(smooth, prominence=PROMINENCE)
    if len(peaks) < 2:
        return None
    valley = smooth[peaks[0] : peaks[1]]
    bottom = np.flatnonzero(valley <= valley.min() + 1e-9)
    return float(edges[peaks[0] + int(np.median(bottom)) + 1])
