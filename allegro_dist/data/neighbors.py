"""Neighbor lists by vesin: directed edges sorted by center, cut off per ordered type pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import vesin
from numpy.typing import NDArray

from allegro_dist.data.structure import Array, DataError, Structure

CLOSEST = 0.05
"""Angstrom; atoms nearer than this are a mistake in the data, and the model's basis is undefined at zero."""


class Edges(NamedTuple):
    """All pairs within their cutoff, periodic images included; sorted by center, then neighbor, then image."""

    edge_index: NDArray[np.int64]  # [2, E] center, neighbor
    edge_vectors: Array  # [E, 3] r_neighbor - r_center, Angstrom
    shifts: NDArray[np.int32]  # [E, 3] cells between them: edge_vector = r[neighbor] - r[center] + shift @ cell


def find_types(structure: Structure, type_names: Sequence[str]) -> NDArray[np.int64]:
    """[N] model types; raises DataError that names a symbol the model doesn't have."""
    lookup = {name: t for t, name in enumerate(type_names)}
    for symbol in structure.symbols:
        if symbol not in lookup:
            raise DataError(f"{structure.source}: atom of type '{symbol}', but the model has {', '.join(type_names)}")
    return np.array([lookup[symbol] for symbol in structure.symbols], dtype=np.int64)


def find_edges(structure: Structure, atom_types: NDArray[np.int64], cutoffs: Array) -> Edges:
    """The edges of a structure.

    Args:
        atom_types: [N].
        cutoffs: [T, T] cutoff of each ordered type pair [center, neighbor], Angstrom.
    """
    neighbors = vesin.NeighborList(cutoff=float(cutoffs.max()), full_list=True, n_threads=1)
    i, j, shifts, vectors, lengths = neighbors.compute(
        structure.positions, structure.cell, list(structure.pbc), quantities="ijSDd"
    )
    center, neighbor = i.astype(np.int64), j.astype(np.int64)
    if len(lengths) and lengths.min() < CLOSEST:
        e = int(lengths.argmin())
        raise DataError(f"{structure.source}: atoms {center[e]} and {neighbor[e]} are {lengths[e]:.3g} Angstrom apart")
    order = np.lexsort((shifts[:, 2], shifts[:, 1], shifts[:, 0], neighbor, center))
    within = lengths[order] < cutoffs[atom_types[center[order]], atom_types[neighbor[order]]]
    order = order[within]
    return Edges(np.stack([center[order], neighbor[order]]), vectors[order], shifts[order])
