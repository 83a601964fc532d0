"""Shared fixtures: random neighborhoods, and potentials of several shapes with random weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from allegro_dist.config import AllegroConfig
from allegro_dist.potential import Potential, build_potential

torch.set_num_threads(1)  # small tensors: more threads cost more than they bring

TYPE_NAMES = ("Si", "O", "H")
MIXED_CUTOFFS = {"O-H": 3.5, "H-O": 4.0, "H-H": 3.0}


def edges_of(atoms: Atoms, type_names=TYPE_NAMES, cutoffs=None, r_max=5.0):
    """(edge_vectors, edge_index, atom_types) by ASE's neighbor list, sorted by center; float64."""
    types = np.array([type_names.index(s) for s in atoms.get_chemical_symbols()])
    i, j, vectors = neighbor_list("ijD", atoms, r_max)
    keep = np.ones(len(i), dtype=bool)
    for pair, cutoff in (cutoffs or {}).items():
        center, neighbor = (type_names.index(n) for n in pair.split("-"))
        lengths = np.linalg.norm(vectors, axis=1)
        keep &= ~((types[i] == center) & (types[j] == neighbor) & (lengths >= cutoff))
    i, j, vectors = i[keep], j[keep], vectors[keep]
    order = np.argsort(i, kind="stable")
    return torch.tensor(vectors[order]), torch.tensor(np.stack([i[order], j[order]])), torch.tensor(types)


def silica(seed: int = 0, repeat=(1, 1, 1)) -> Atoms:
    """A disordered periodic cell of three elements, triclinic, about as dense as a solid."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", "diamond", a=5.9, cubic=True)
    atoms.set_chemical_symbols(["Si", "O", "O", "H", "O", "Si", "H", "O"])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.05, 0.05, (3, 3))), scale_atoms=True)
    atoms = atoms.repeat(repeat)
    atoms.positions += rng.normal(0, 0.2, (len(atoms), 3))
    return atoms


def make_potential(seed: int = 0, **changes) -> Potential:
    """A potential over TYPE_NAMES with random weights, in eval mode."""
    torch.manual_seed(seed)
    config = replace(AllegroConfig(dtype="float64"), **changes)
    potential = build_potential(
        config,
        type_names=TYPE_NAMES,
        avg_num_neighbors=(28.0, 30.0, 25.0),
        per_type_scale=(1.3, 0.8, 0.6),
        per_type_shift=(-100.0, -400.0, -13.0),
    )
    return potential.eval()


@pytest.fixture
def crystal() -> Atoms:
    return silica()
