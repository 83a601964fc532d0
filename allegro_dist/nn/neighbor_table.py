"""The padded neighbor table: every edge quantity as a dense [atom, neighbor slot] array.

Edges come as a list sorted by center.  Laid out as a table of num_atoms rows and as many slots as the richest center
has neighbors, the two primitives of the tensor track become batched matrix products (environment.py), on any device,
for any order of derivative.  Empty slots hold a vector beyond every cutoff: the envelope is exactly zero there, and so
are all bias-free features, energies and gradients that follow from it.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class NeighborTable(NamedTuple):
    """Edges in table layout; A atoms, M slots, rows flattened to A*M."""

    edge_vectors: Tensor  # [A*M, 3]
    center_types: Tensor  # [A*M]
    neighbor_types: Tensor  # [A*M]; 0 in empty slots
    num_atoms: int
    num_slots: int


def neighbor_table(edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor, empty_length: float) -> NeighborTable:
    """Lay edges out as a table.

    Args:
        edge_vectors: [E, 3], Angstrom.
        edge_index: [2, E], sorted by center (row 0).
        atom_types: [A].
        empty_length: length of the vector in empty slots, beyond every cutoff, Angstrom.
    """
    center, neighbor = edge_index[0], edge_index[1]
    num_atoms = atom_types.shape[0]
    counts = torch.bincount(center, minlength=num_atoms)
    num_slots = 1
    if center.shape[0] > 0:
        num_slots = int(counts.max().item())
    first = torch.cumsum(counts, 0) - counts
    slot = torch.arange(center.shape[0], device=center.device) - first.index_select(0, center) + center * num_slots
    empty = torch.zeros(num_atoms * num_slots, 3, dtype=edge_vectors.dtype, device=edge_vectors.device)
    empty[:, 0] = empty_length
    neighbor_types = torch.zeros(num_atoms * num_slots, dtype=torch.long, device=center.device)
    return NeighborTable(
        empty.index_copy(0, slot, edge_vectors),
        atom_types.repeat_interleave(num_slots),
        neighbor_types.index_copy(0, slot, atom_types.index_select(0, neighbor)),
        num_atoms,
        num_slots,
    )
