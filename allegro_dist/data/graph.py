"""Graphs (one frame each) and batches of them, as tensors ready for a potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from allegro_dist.data.neighbors import find_edges, find_types
from allegro_dist.data.structure import Structure


class Graph(NamedTuple):
    """A frame of N atoms and E edges; labels that it lacks are zeros, and has_* says so."""

    edge_vectors: Tensor  # [E, 3] Angstrom, the model's dtype
    edge_index: Tensor  # [2, E] center, neighbor
    atom_types: Tensor  # [N]
    energy: Tensor  # [1] eV, float64
    forces: Tensor  # [N, 3] eV/Angstrom, the model's dtype
    stress: Tensor  # [1, 3, 3] eV/Angstrom^3, the model's dtype
    volume: float  # Angstrom^3; 1 where there is none, so that a quotient stays finite
    has_energy: bool
    has_forces: bool
    has_stress: bool

    @property
    def num_atoms(self) -> int:
        return self.atom_types.shape[0]

    @property
    def num_edges(self) -> int:
        return self.edge_index.shape[1]


class Batch(NamedTuple):
    """B graphs in one, frame after frame, so that edges stay sorted by center."""

    edge_vectors: Tensor  # [E, 3]
    edge_index: Tensor  # [2, E]
    atom_types: Tensor  # [N]
    edge_frame: Tensor  # [E]
    atom_frame: Tensor  # [N]
    num_atoms: Tensor  # [B] float64, as divisor
    volume: Tensor  # [B]
    energy: Tensor  # [B] float64
    forces: Tensor  # [N, 3]
    stress: Tensor  # [B, 3, 3]
    has_energy: Tensor  # [B] bool
    has_forces: Tensor  # [N] bool
    has_stress: Tensor  # [B] bool

    @property
    def num_frames(self) -> int:
        return self.energy.shape[0]

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; itself if it is there."""
        if self.energy.device == device:
            return self
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


def build_graph(structure: Structure, type_names: Sequence[str], cutoffs: Tensor, dtype: torch.dtype) -> Graph:
    """Types, neighbor list and labels of a structure; cutoffs [T, T] Angstrom, [center, neighbor]."""
    types = find_types(structure, type_names)
    edges = find_edges(structure, types, cutoffs.numpy())
    num_atoms = len(structure.symbols)
    forces, stress = structure.forces, structure.stress
    return Graph(
        edge_vectors=torch.from_numpy(edges.edge_vectors).to(dtype),
        edge_index=torch.from_numpy(edges.edge_index),
        atom_types=torch.from_numpy(types),
        energy=torch.tensor([structure.energy or 0.0], dtype=torch.float64),
        forces=torch.zeros(num_atoms, 3, dtype=dtype) if forces is None else torch.from_numpy(forces).to(dtype),
        stress=torch.zeros(1, 3, 3, dtype=dtype) if stress is None else torch.from_numpy(stress).to(dtype)[None],
        volume=structure.volume or 1.0,
        has_energy=structure.energy is not None,
        has_forces=forces is not None,
        has_stress=stress is not None,
    )


def collate(graphs: Sequence[Graph]) -> Batch:
    """One batch of graphs; offsets are added to the atom indices of the edges."""
    num_atoms = torch.tensor([g.num_atoms for g in graphs])
    num_edges = torch.tensor([g.num_edges for g in graphs])
    first_atom = torch.cumsum(num_atoms, 0) - num_atoms
    frames = torch.arange(len(graphs))
    edge_frame = frames.repeat_interleave(num_edges)
    dtype = graphs[0].edge_vectors.dtype
    return Batch(
        edge_vectors=torch.cat([g.edge_vectors for g in graphs]),
        edge_index=torch.cat([g.edge_index for g in graphs], 1) + first_atom.index_select(0, edge_frame),
        atom_types=torch.cat([g.atom_types for g in graphs]),
        edge_frame=edge_frame,
        atom_frame=frames.repeat_interleave(num_atoms),
        num_atoms=num_atoms.to(torch.float64),
        volume=torch.tensor([g.volume for g in graphs], dtype=dtype),
        energy=torch.cat([g.energy for g in graphs]),
        forces=torch.cat([g.forces for g in graphs]),
        stress=torch.cat([g.stress for g in graphs]),
        has_energy=torch.tensor([g.has_energy for g in graphs]),
        has_forces=torch.tensor([g.has_forces for g in graphs]).repeat_interleave(num_atoms),
        has_stress=torch.tensor([g.has_stress for g in graphs]),
    )
