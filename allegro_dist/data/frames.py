"""Sets of frames and of their graphs, as training sees them; here those that are kept in memory.

Sets on disk (stored.py) show the same face, so nothing else needs to know where frames are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from ase.data import atomic_numbers
from numpy.typing import NDArray
from torch import Tensor

from allegro_dist.data.graph import Batch, Graph, build_graph, collate
from allegro_dist.data.isolated import is_isolated
from allegro_dist.data.structure import Array, Structure, digest, require_labels


class Graphs(Protocol):
    """Graphs of F frames, from which batches are taken."""

    remark: str
    """What a user should know about them; mostly nothing."""

    @property
    def num_edges(self) -> NDArray[np.int64]:
        """[F] edges of each frame: what it costs."""

    @property
    def label_counts(self) -> Tensor:
        """[F, 3] number of labels of each frame: energies, force components, stress components; float64."""

    def __len__(self) -> int: ...

    def has_edges(self) -> bool:
        """Whether any two atoms are neighbors."""

    def expect(self, indices: Sequence[int]) -> None:
        """Prepare for a batch of these frames, without waiting."""

    def batch(self, indices: Sequence[int]) -> Batch:
        """The graphs of these frames in one."""

    def neighbor_counts(self, num_types: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[T] atoms of each type, and [T] edges of them as centers."""


class FrameSet(Protocol):
    """F frames with labels."""

    @property
    def num_atoms(self) -> NDArray[np.int64]:
        """[F] atoms of each frame."""

    @property
    def energies(self) -> Array:
        """[F] eV; not a number where a frame has none."""

    @property
    def isolated(self) -> NDArray[np.bool_]:
        """[F] which are of an isolated atom."""

    def __len__(self) -> int: ...

    def symbols(self) -> tuple[str, ...]:
        """The chemical symbols that occur, by atomic number."""

    def compositions(self, type_names: Sequence[str]) -> Array:
        """[F, T] atoms of each type in each frame."""

    def force_squares(self) -> tuple[float, int]:
        """Sum of the squares of all force components, eV^2/Angstrom^2, and their number."""

    def isolated_energies(self) -> dict[str, float]:
        """Energy of the first isolated atom of each symbol, eV."""

    def require_labels(self, *, forces: bool, stress: bool) -> None:
        """As structure.require_labels."""

    def digest(self) -> str:
        """Equal digests mean the same data."""

    def subset(self, indices: Sequence[int]) -> FrameSet:
        """These frames, in this order."""

    def structures(self) -> Iterator[Structure]:
        """The frames, one after another."""

    def graphs(self, type_names: Sequence[str], cutoffs: Tensor, dtype: torch.dtype) -> Graphs:
        """Their graphs; cutoffs [T, T] Angstrom, [center, neighbor]."""


class FrameList:
    """Frames in memory."""

    def __init__(self, frames: Sequence[Structure]) -> None:
        self.frames = list(frames)

    @property
    def num_atoms(self) -> NDArray[np.int64]:
        return np.array([len(s.symbols) for s in self.frames], dtype=np.int64)

    @property
    def energies(self) -> Array:
        return np.array([np.nan if s.energy is None else s.energy for s in self.frames], dtype=np.float64)

    @property
    def isolated(self) -> NDArray[np.bool_]:
        return np.array([is_isolated(s) for s in self.frames], dtype=bool)

    def __len__(self) -> int:
        return len(self.frames)

    def symbols(self) -> tuple[str, ...]:
        return by_atomic_number({symbol for s in self.frames for symbol in s.symbols})

    def compositions(self, type_names: Sequence[str]) -> Array:
        counted = [Counter(s.symbols) for s in self.frames]
        return np.array([[float(c[name]) for name in type_names] for c in counted])

    def force_squares(self) -> tuple[float, int]:
        forces = [s.forces for s in self.frames if s.forces is not None]
        return sum(float((f**2).sum()) for f in forces), sum(f.size for f in forces)

    def isolated_energies(self) -> dict[str, float]:
        single = [s for s in reversed(self.frames) if is_isolated(s)]
        return {s.symbols[0]: s.energy for s in single if s.energy is not None}

    def require_labels(self, *, forces: bool, stress: bool) -> None:
        require_labels(self.frames, forces=forces, stress=stress)

    def digest(self) -> str:
        return digest(self.frames)

    def subset(self, indices: Sequence[int]) -> FrameList:
        return FrameList([self.frames[i] for i in indices])

    def structures(self) -> Iterator[Structure]:
        return iter(self.frames)

    def graphs(self, type_names: Sequence[str], cutoffs: Tensor, dtype: torch.dtype) -> GraphList:
        """Neighbor lists included: computed once, kept for every epoch."""
        return GraphList([build_graph(s, type_names, cutoffs, dtype) for s in self.frames])


class GraphList:
    """Graphs in memory."""

    remark = ""

    def __init__(self, graphs: Sequence[Graph]) -> None:
        self.graphs = list(graphs)

    @property
    def num_edges(self) -> NDArray[np.int64]:
        return np.array([g.num_edges for g in self.graphs], dtype=np.int64)

    @property
    def label_counts(self) -> Tensor:
        counts = [[g.has_energy, 3 * g.num_atoms * g.has_forces, 9 * g.has_stress] for g in self.graphs]
        return torch.tensor(counts, dtype=torch.float64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self.graphs)

    def has_edges(self) -> bool:
        return any(g.num_edges for g in self.graphs)

    def expect(self, indices: Sequence[int]) -> None:
        """They are here."""

    def batch(self, indices: Sequence[int]) -> Batch:
        return collate([self.graphs[i] for i in indices])

    def neighbor_counts(self, num_types: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        atoms, edges = np.zeros((2, num_types), dtype=np.int64)
        for graph in self.graphs:
            types = graph.atom_types.numpy()
            atoms += np.bincount(types, minlength=num_types)
            edges += np.bincount(types[graph.edge_index[0].numpy()], minlength=num_types)
        return atoms, edges


def by_atomic_number(symbols: set[str]) -> tuple[str, ...]:
    """Chemical symbols in the order in which a model has its types."""
    return tuple(sorted(symbols, key=lambda name: atomic_numbers[name]))
