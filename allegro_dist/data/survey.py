"""What a data set consists of: columns over its frames, and a sample of frames for what needs geometry."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from allegro_dist.data.filters import geometry_key, largest_force
from allegro_dist.data.frames import by_atomic_number
from allegro_dist.data.isolated import is_isolated
from allegro_dist.data.neighbors import find_edges
from allegro_dist.data.statistics import least_squares_shift
from allegro_dist.data.structure import Array, DataError, Structure

SAMPLE = 2000
"""Most frames, evenly spaced, on which neighbors are counted and pairs of frames are compared."""


class Survey(NamedTuple):
    """A data set of F frames; what a frame lacks is not a number."""

    sources: list[str]  # what an error message calls each frame
    formulas: list[str]
    symbols: tuple[str, ...]  # by atomic number
    compositions: Array  # [F, T] atoms of each symbol
    energies: Array  # [F] eV
    force_rms: Array  # [F] over components, eV/Angstrom
    force_max: Array  # [F] largest on an atom
    net_force: Array  # [F] magnitude of their sum
    pressure: Array  # [F] minus a third of the stress's trace, eV/Angstrom^3
    densities: Array  # [F] atoms per Angstrom^3; only of cells that are periodic in three directions
    isolated: NDArray[np.bool_]  # [F] which are of an isolated atom
    keys: list[bytes]  # filters.geometry_key
    sample: list[Structure]

    @property
    def num_atoms(self) -> Array:
        """[F]"""
        return self.compositions.sum(1)

    def beyond_composition(self) -> Array:
        """[F] energy per atom less the least-squares fit over compositions, eV."""
        beyond = np.full(len(self.energies), np.nan)
        labelled = np.isfinite(self.energies)
        if labelled.any():
            counts, energies = self.compositions[labelled], self.energies[labelled]
            beyond[labelled] = (energies - counts @ np.array(least_squares_shift(counts, energies))) / counts.sum(1)
        return beyond


COLUMNS = ("energies", "force_rms", "force_max", "net_force", "pressure", "densities")  # what _numbers gives


class NeighborCounts(NamedTuple):
    """Edges within a cutoff."""

    cutoff: float  # Angstrom
    per_atom: Array  # [A] over the sample


def survey(structures: Iterable[Structure]) -> Survey:
    """Go through frames once; raises DataError when there are none."""
    sources, kinds, keys, numbers, isolated = [], [], [], [], []
    counted: dict[str, Counter[str]] = {}  # of each formula
    sample: list[tuple[int, Structure]] = []
    stride = 1
    for index, s in enumerate(structures):
        sources.append(s.source)
        counts = Counter(s.symbols)
        formula = sys.intern(_formula(counts))
        counted[formula] = counts
        kinds.append(formula)
        keys.append(geometry_key(s))
        numbers.append(_numbers(s))
        isolated.append(is_isolated(s))
        if index % stride == 0:
            sample.append((index, s))
        if len(sample) > SAMPLE:  # every second of them, so that they stay evenly spaced
            stride *= 2
            sample = [(i, kept) for i, kept in sample if i % stride == 0]
    if not sources:
        raise DataError("the data set holds no frames")
    symbols = by_atomic_number({symbol for counts in counted.values() for symbol in counts})
    rows = {formula: [float(counts[name]) for name in symbols] for formula, counts in counted.items()}
    compositions = np.array([rows[formula] for formula in kinds])
    columns = dict(zip(COLUMNS, np.array(numbers).T, strict=True))
    kept = [s for _, s in sample]
    return Survey(sources, kinds, symbols, compositions, **columns, isolated=np.array(isolated), keys=keys, sample=kept)


def count_neighbors(sample: Sequence[Structure], cutoffs: Sequence[float]) -> list[NeighborCounts]:
    """Edges of each atom within each cutoff."""
    widest = np.full((1, 1), max(cutoffs))
    counts: list[list[NDArray[np.int64]]] = [[] for _ in cutoffs]
    for s in sample:
        edges = find_edges(s, np.zeros(len(s.symbols), dtype=np.int64), widest)
        lengths = np.linalg.norm(edges.edge_vectors, axis=1)
        for found, cutoff in zip(counts, cutoffs, strict=True):
            found.append(np.bincount(edges.edge_index[0][lengths < cutoff], minlength=len(s.symbols)))
    return [NeighborCounts(c, np.concatenate(n).astype(np.float64)) for c, n in zip(cutoffs, counts, strict=True)]


def _numbers(s: Structure) -> list[float]:
    """What a frame adds to COLUMNS."""
    no = float("nan")
    forces = [no] * 3
    if s.forces is not None:
        forces = [float(np.sqrt((s.forces**2).mean())), largest_force(s), float(np.linalg.norm(s.forces.sum(0)))]
    return [
        no if s.energy is None else s.energy,
        *forces,
        no if s.stress is None else -float(np.trace(s.stress)) / 3,
        len(s.symbols) / s.volume if all(s.pbc) else no,
    ]


def _formula(counts: Counter[str]) -> str:
    return "".join(f"{name}{counts[name] if counts[name] > 1 else ''}" for name in by_atomic_number(set(counts)))
