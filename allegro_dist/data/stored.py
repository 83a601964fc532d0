"""Frames and graphs of a set on disk, read when they are needed.

A set's name may end in @train, @val or @test, for one part of a set that was split when it was built.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from allegro_dist.data.graph import Batch, build_graph, collate
from allegro_dist.data.isolated import are_isolated
from allegro_dist.data.set_file import PARTS, SUFFIX, SetFile, pieces
from allegro_dist.data.structure import Array, DataError, Structure, require_labels

REALS = {torch.float32: np.float32, torch.float64: np.float64}
_SOME = 20_000
"""Atoms taken at a time where all frames are gone through."""


def is_set(path: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a set or of a part of one."""
    return _without_part(str(path))[0].endswith(SUFFIX)


def open_set(name: str | os.PathLike[str]) -> StoredFrames:
    """The frames of a set, or of the part that its name asks for; raises DataError where there is none."""
    path, part = _without_part(str(name))
    file = SetFile(path)
    if not part:
        return StoredFrames(file, np.arange(len(file.frames)))
    if part not in PARTS:
        raise DataError(f"{name}: expected @train, @val or @test, got @{part}")
    indices = np.flatnonzero(file.frames["part"] == PARTS.index(part)) if file.header.is_split else np.zeros(0, int)
    if not len(indices):
        raise DataError(f"{name}: the set has no part '{part}'; `allegro-dist dataset build --{part}` makes one")
    return StoredFrames(file, indices)


def _without_part(name: str) -> tuple[str, str]:
    path, _, part = name.partition(f"{SUFFIX}@")
    return (path + SUFFIX, part) if part else (name, "")


class StoredFrames:
    """Frames of a set (frames.FrameSet)."""

    def __init__(self, file: SetFile, indices: NDArray[np.int64]) -> None:
        self.file, self.indices = file, indices

    @property
    def num_atoms(self) -> NDArray[np.int64]:
        return self.column("num_atoms").astype(np.int64)

    @property
    def energies(self) -> Array:
        return self.column("energy")

    @property
    def isolated(self) -> NDArray[np.bool_]:
        return are_isolated(self.num_atoms, self.column("cell"), self.column("pbc"))

    @property
    def has_stress(self) -> NDArray[np.bool_]:
        """[F]"""
        return ~np.isnan(self.file.frames["stress"][:, 0, 0][self.indices])

    @property
    def is_whole_of_parts(self) -> bool:
        """Whether these are all frames of a set that is split, validation and test frames among them."""
        return self.file.header.is_split and len(self) == len(self.file.frames)

    def __len__(self) -> int:
        return len(self.indices)

    def symbols(self) -> tuple[str, ...]:
        if len(self) == len(self.file.frames):
            return self.file.header.symbols
        occurs = np.zeros(len(chemical_symbols), dtype=bool)
        for _, atoms in self.blocks():
            occurs[atoms["number"]] = True
        return tuple(chemical_symbols[z] for z in np.flatnonzero(occurs))

    def compositions(self, type_names: Sequence[str]) -> Array:
        lookup, size = _types_of(type_names), len(type_names) + 1  # the last for what the model lacks
        counts = []
        for frames, atoms in self.blocks():
            frame = np.repeat(np.arange(len(frames)), frames["num_atoms"])
            key = frame * size + lookup[atoms["number"]]
            counts.append(np.bincount(key, minlength=len(frames) * size).reshape(-1, size)[:, :-1])
        return np.concatenate(counts).astype(np.float64)

    def force_squares(self) -> tuple[float, int]:
        has_forces = self.column("has_forces").astype(bool)
        num_components = 3 * int(self.num_atoms[has_forces].sum())
        return sum(self.column("force_square")[has_forces].tolist()), num_components

    def isolated_energies(self) -> dict[str, float]:
        single = self.indices[self.isolated & np.isfinite(self.energies)]
        frames = self.file.frames[single[::-1]]
        numbers = self.file.atoms(frames)["number"]
        return {chemical_symbols[z]: float(e) for z, e in zip(numbers, frames["energy"], strict=True)}

    def require_labels(self, *, forces: bool, stress: bool) -> None:
        lacking = np.isnan(self.energies)
        if forces:
            lacking |= (self.column("has_forces") == 0) & (self.num_atoms > 1)
        # One frame that lacks a label and one with a stress say all that there is to say.
        witnesses = [int(np.argmax(x)) for x in (lacking, self.has_stress) if x.any()] or [0]
        require_labels(self.subset(witnesses).structures(), forces=forces, stress=stress)

    def digest(self) -> str:
        return hashlib.sha256(self.file.digest.encode() + self.indices.tobytes()).hexdigest()

    def subset(self, indices: Sequence[int]) -> StoredFrames:
        return StoredFrames(self.file, self.indices[indices])

    def structures(self) -> Iterator[Structure]:
        for index in self.indices:
            yield self._structure(self.file.frames[index : index + 1])

    def graphs(self, type_names: Sequence[str], cutoffs: Tensor, dtype: torch.dtype) -> StoredGraphs:
        for symbol in self.symbols():
            if symbol not in type_names:
                raise DataError(
                    f"{self.file.path}: atoms of type '{symbol}', but the model has {', '.join(type_names)}"
                )
        kind = StoredGraphs if float(cutoffs.max()) <= self.file.header.r_max else FoundGraphs
        return kind(self, type_names, cutoffs, dtype)

    def column(self, name: str) -> NDArray[Any]:
        """A column of the table of frames."""
        return self.file.frames[name][self.indices]

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        """All frames and their atoms, some at a time."""
        for some in pieces(self.num_atoms, _SOME):
            frames = self.file.frames[self.indices[some]]
            yield frames, self.file.atoms(frames)

    def _structure(self, row: NDArray[Any]) -> Structure:
        atoms, frame = self.file.atoms(row), row[0]
        stress = frame["stress"].copy()
        return Structure(
            symbols=tuple(chemical_symbols[z] for z in atoms["number"]),
            positions=atoms["position"].copy(),
            cell=frame["cell"].copy(),
            pbc=(bool(frame["pbc"][0]), bool(frame["pbc"][1]), bool(frame["pbc"][2])),
            energy=None if np.isnan(frame["energy"]) else float(frame["energy"]),
            forces=atoms["force"].copy() if frame["has_forces"] else None,
            stress=None if np.isnan(stress[0, 0]) else stress,
            source=f"{self.file.header.sources[frame['source']]}, frame {frame['number']}",
        )


class StoredGraphs:
    """Graphs of frames on disk, from their stored neighbor lists (frames.Graphs)."""

    remark = ""

    def __init__(self, frames: StoredFrames, type_names: Sequence[str], cutoffs: Tensor, dtype: torch.dtype) -> None:
        self.frames, self.type_names, self.dtype = frames, tuple(type_names), dtype
        self.cutoffs = cutoffs.numpy()
        self.differ = bool((self.cutoffs != frames.file.header.r_max).any())  # the model's cutoffs, from the set's
        self.types = _types_of(type_names)

    @property
    def num_edges(self) -> NDArray[np.int64]:
        """[F] within the set's r_max, which may be more than within the model's."""
        return self.frames.column("num_edges")

    @property
    def label_counts(self) -> Tensor:
        frames = self.frames
        forces = 3 * frames.num_atoms * frames.column("has_forces")
        return torch.from_numpy(np.stack([~np.isnan(frames.energies), forces, 9.0 * frames.has_stress], 1))

    def __len__(self) -> int:
        return len(self.frames)

    def has_edges(self) -> bool:
        return any(edges_of_atom.any() for _, edges_of_atom in self._all_atoms())

    def expect(self, indices: Sequence[int]) -> None:
        self.frames.file.expect(self.frames.file.frames[self.frames.indices[indices]])

    def batch(self, indices: Sequence[int]) -> Batch:
        file = self.frames.file
        frames = file.frames[self.frames.indices[indices]]
        atoms, edges = file.atoms(frames), file.edges(frames)
        types = self.types[atoms["number"]]
        num_edges = np.ascontiguousarray(frames["num_edges"])
        edge_index, vectors = _edges_of(frames, atoms, edges)
        if self.differ:
            within = np.linalg.norm(vectors, axis=1) < self.cutoffs[types[edge_index[0]], types[edge_index[1]]]
            edge_frame = np.arange(len(frames)).repeat(num_edges)
            num_edges = np.bincount(edge_frame[within], minlength=len(frames))
            edge_index, vectors = edge_index[:, within], vectors[within]
        return self._assemble(frames, atoms, types, edge_index, vectors, num_edges)

    def neighbor_counts(self, num_types: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        num_atoms, num_edges = np.zeros((2, num_types), dtype=np.int64)
        for types, edges_of_atom in self._all_atoms():
            num_atoms += np.bincount(types, minlength=num_types)
            num_edges += np.bincount(types, edges_of_atom, num_types).astype(np.int64)
        return num_atoms, num_edges

    def _all_atoms(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Types of all atoms, and the edges that each is the center of, some frames at a time."""
        if not self.differ:
            for _, atoms in self.frames.blocks():
                yield self.types[atoms["number"]], atoms["num_edges"]
            return
        for some in pieces(self.frames.num_atoms, _SOME):
            batch = self.batch(range(some.start, some.stop))
            types, center = batch.atom_types.numpy(), batch.edge_index[0].numpy()
            yield types, np.bincount(center, minlength=len(types))

    def _assemble(
        self, frames: NDArray[Any], atoms: NDArray[Any], types: NDArray[np.int64], edge_index: NDArray[np.int64],
        vectors: Array, num_edges: NDArray[np.int64],
    ) -> Batch:  # fmt: skip
        # numpy where it can: its calls cost a third of torch's, and a batch of molecules is little more than calls.
        tensor, real = torch.from_numpy, REALS[self.dtype]
        order, num_atoms = np.arange(len(frames)), frames["num_atoms"]
        energy, stress, volume = frames["energy"], frames["stress"], frames["volume"]
        has_energy, has_stress = ~np.isnan(energy), ~np.isnan(stress[:, 0, 0])
        return Batch(
            edge_vectors=tensor(vectors.astype(real, copy=False)),
            edge_index=tensor(edge_index),
            atom_types=tensor(types),
            edge_frame=tensor(order.repeat(num_edges)),
            atom_frame=tensor(order.repeat(num_atoms)),
            num_atoms=tensor(num_atoms.astype(np.float64)),
            volume=tensor(np.where(volume > 0, volume, 1.0).astype(real)),
            energy=tensor(np.where(has_energy, energy, 0.0)),
            forces=tensor(atoms["force"].astype(real)),
            stress=tensor(np.where(has_stress[:, None, None], stress, 0.0).astype(real)),
            has_energy=tensor(has_energy),
            has_forces=tensor((frames["has_forces"] > 0).repeat(num_atoms)),
            has_stress=tensor(has_stress),
        )


class FoundGraphs(StoredGraphs):
    """Graphs of frames on disk whose stored neighbor lists do not reach as far as the model: found anew each time."""

    def __init__(self, frames: StoredFrames, type_names: Sequence[str], cutoffs: Tensor, dtype: torch.dtype) -> None:
        super().__init__(frames, type_names, cutoffs, dtype)
        reach = float(cutoffs.max())
        self.remark = (
            f"{frames.file.path}: its neighbor lists reach {frames.file.header.r_max} A, the model's cutoff is {reach} "
            f"A, so neighbors are found anew in every step; `dataset build --r-max {reach}` stores them"
        )

    def batch(self, indices: Sequence[int]) -> Batch:
        cutoffs = torch.from_numpy(self.cutoffs)
        structures = self.frames.subset(indices).structures()
        return collate([build_graph(s, self.type_names, cutoffs, self.dtype) for s in structures])


def _types_of(type_names: Sequence[str]) -> NDArray[np.int64]:
    """Type of each atomic number; len(type_names) where it has none."""
    types = np.full(len(chemical_symbols), len(type_names), dtype=np.int64)
    types[[atomic_numbers[name] for name in type_names]] = np.arange(len(type_names))
    return types


def _edges_of(frames: NDArray[Any], atoms: NDArray[Any], edges: NDArray[Any]) -> tuple[NDArray[np.int64], Array]:
    """edge_index [2, E] over all frames, and edge_vectors [E, 3], to the bit those of neighbors.find_edges."""
    edge_index = np.empty((2, len(edges)), dtype=np.int64)
    center, neighbor = edge_index
    center[:] = np.arange(len(atoms)).repeat(atoms["num_edges"])
    first_atom = frames["num_atoms"].cumsum() - frames["num_atoms"]
    np.add(edges["neighbor"], first_atom.repeat(frames["num_edges"]), out=neighbor)
    positions = np.ascontiguousarray(atoms["position"])
    vectors = positions[neighbor] - positions[center]
    if frames["pbc"].any():
        shift, cell = edges["shift"].astype(np.float64), frames["cell"].repeat(frames["num_edges"], 0)
        # In this order and form as vesin has it: sums round as there.
        vectors += shift[:, :1] * cell[:, 0] + shift[:, 1:2] * cell[:, 1] + shift[:, 2:] * cell[:, 2]
    return edge_index, vectors
