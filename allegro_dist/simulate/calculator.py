"""ASE calculator over an archive: energy, forces, stress, and their parts per atom."""

from __future__ import annotations

import os
from typing import Any, ClassVar, Literal

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from allegro_dist.compiled import is_built
from allegro_dist.data.neighbors import find_edges, find_types
from allegro_dist.data.structure import from_atoms
from allegro_dist.deploy.archive import load_archive
from allegro_dist.engine import Engine
from allegro_dist.potential import assemble_forces

BLOCK_EDGES = 4096  # edges evaluated at once: what stays in cache, and what bounds the memory


class AllegroCalculator(Calculator):
    """Energies in eV, forces in eV/Angstrom, stress in eV/Angstrom^3 (tension positive, ASE's Voigt order).

    `energies` and `stresses` are per atom: a center has the energy of its edges, an edge's stress is halved between its
    ends, and both add up to the totals.

    Args:
        path: an archive written by `allegro-dist deploy`.
        device: "cpu", "cuda", "cuda:1"...
        evaluator: auto | fused | torchscript; auto takes the compiled fused evaluator on the CPU where the archive has
            a program for it and the library is built.
        num_threads: of the fused evaluator.
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "stresses",
    ]

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str = "cpu",
        evaluator: Literal["auto", "fused", "torchscript"] = "auto",
        num_threads: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if evaluator not in ("auto", "fused", "torchscript"):
            raise ValueError(f"evaluator {evaluator!r}: expected auto, fused or torchscript")
        self.archive = load_archive(path, device)
        self.cutoffs = self.archive.cutoffs().numpy()
        possible = self.archive.has_fused_program and device == "cpu" and is_built()
        self.engine: Engine | None = None
        if evaluator == "fused" or (evaluator == "auto" and possible):
            self.engine = Engine(path, device=device, evaluator="fused", num_threads=num_threads)

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        """Evaluate everything at once; forces and stress cost nothing beyond the energy's gradient."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        structure = from_atoms(self.atoms)
        types = find_types(structure, self.archive.type_names)
        edges = find_edges(structure, types, self.cutoffs)
        index, vectors = torch.from_numpy(edges.edge_index), torch.from_numpy(edges.edge_vectors)
        energies, gradient = self._evaluate(vectors, index, torch.from_numpy(types))
        num_atoms = len(types)
        self.results = {
            "energy": float(energies.sum()),
            "free_energy": float(energies.sum()),
            "energies": energies.numpy(),
            "forces": assemble_forces(gradient, index, num_atoms).numpy(),
        }
        if self.atoms.cell.rank == 3:
            half = 0.5 * vectors.unsqueeze(2) * gradient.unsqueeze(1) / self.atoms.cell.volume
            stresses = torch.zeros(num_atoms, 3, 3, dtype=half.dtype)
            stresses.index_add_(0, index[0], half).index_add_(0, index[1], half)
            self.results["stresses"] = full_3x3_to_voigt_6_stress(stresses.numpy())
            self.results["stress"] = self.results["stresses"].sum(axis=0)

    def _evaluate(self, vectors: Tensor, index: Tensor, types: Tensor) -> tuple[Tensor, Tensor]:
        """atomic_energy [N] and edge_gradient [E, 3], float64, by blocks of centers.

        A center's neighbors count by their types alone (strict locality), so a block's graph is its centers followed by
        one atom of each type that stands for all neighbors.
        """
        if self.engine is not None:
            arrays = self.engine.evaluate_atoms(vectors, index, types)
            return torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])
        num_types, device = len(self.archive.type_names), self.archive.device
        ends = torch.cumsum(torch.bincount(index[0], minlength=len(types)), 0)
        energies, gradient = (
            torch.empty(len(types), dtype=torch.float64),
            torch.empty(len(vectors), 3, dtype=torch.float64),
        )
        atom, edge = 0, 0
        while atom < len(types):
            stop = max(atom + 1, int(torch.searchsorted(ends, edge + BLOCK_EDGES, right=True)))
            last = int(ends[stop - 1])
            centers = index[0, edge:last] - atom
            neighbors = types[index[1, edge:last]] + (stop - atom)
            block_types = torch.cat((types[atom:stop], torch.arange(num_types)))
            block = (vectors[edge:last], torch.stack((centers, neighbors)), block_types)
            energy, grad = self.archive(*(tensor.to(device) for tensor in block))
            energies[atom:stop], gradient[edge:last] = energy[: stop - atom].cpu(), grad.cpu()
            atom, edge = stop, last
        return energies, gradient
