"""A Lennard-Jones potential as an archive, written apart from the package: LAMMPS's own lj/cut is its witness."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

TYPE_NAMES = ("Ar", "Kr")
EPSILON = ((0.0104, 0.0122), (0.0122, 0.0143))  # eV
SIGMA = ((3.40, 3.52), (3.52, 3.65))  # Angstrom
CUTOFFS = ((6.0, 5.5), (5.5, 6.5))  # Angstrom


class LennardJones(torch.nn.Module):
    """E_i = 1/2 sum_j 4 eps [(sigma/r)^12 - (sigma/r)^6]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("epsilon", torch.tensor(EPSILON, dtype=torch.float64))
        self.register_buffer("sigma", torch.tensor(SIGMA, dtype=torch.float64))

    def forward(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> tuple[Tensor, Tensor]:
        vectors = edge_vectors.detach().requires_grad_(True)
        center, neighbor = atom_types[edge_index[0]], atom_types[edge_index[1]]
        power6 = (self.sigma[center, neighbor].square() / vectors.square().sum(dim=1)) ** 3
        edge_energy = 2.0 * self.epsilon[center, neighbor] * (power6 * power6 - power6)
        energy = torch.zeros(atom_types.shape[0], dtype=torch.float64).index_add(0, edge_index[0], edge_energy)
        gradient = torch.autograd.grad([energy.sum()], [vectors])[0]
        assert gradient is not None
        return energy, gradient


def engine_data(module: LennardJones, energy_error: float) -> bytes:
    """The member that engines read, of a family without a fused program."""
    vectors = torch.tensor([[3.8, 0.1, 0.2], [-3.8, -0.1, -0.2]], dtype=torch.float64)
    index, types = torch.tensor([[0, 1], [1, 0]]), torch.tensor([0, 1])
    energy, gradient = module(vectors, index, types)
    check = {"edge_vectors": vectors, "edge_index": index, "atom_types": types, "edge_gradient": gradient}
    check |= {"atomic_energy": energy.detach() + energy_error}
    numbers = {"r_max": max(map(max, CUTOFFS)), "interaction_range": max(map(max, CUTOFFS)), "tables.tolerance": 0.0,
               "torchscript.bytes_per_edge": 500.0}  # fmt: skip
    for name in ("energy", "gradient", "float32_energy", "float32_gradient"):
        numbers[f"check.{name}_tolerance"] = 1e-12
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
    tensors |= {f"check.{name}": value for name, value in check.items()}
    tensors |= {"cutoffs": torch.tensor(CUTOFFS, dtype=torch.float64), "tables.intervals": torch.tensor(0)}
    return safetensors.torch.save(tensors, metadata={"type_names": " ".join(TYPE_NAMES), "dtype": "float64"})


def write_archive(path: Path, format_version: str | None = "2", energy_error: float = 0.0) -> Path:
    """The archive; optionally of another format, without one, or with a wrong reference energy in its self-check."""
    module = LennardJones().eval()
    extra = {"model_card.json": "{}", "engine.safetensors": engine_data(module, energy_error)}
    if format_version is not None:
        extra["format_version"] = format_version
    torch.jit.save(torch.jit.script(module), str(path), _extra_files=extra)
    return path


def pair_lj_cut() -> str:
    """The same potential in LAMMPS's own pair style."""
    lines = ["pair_style lj/cut 6.5"]
    for i in range(2):
        for j in range(i, 2):
            lines.append(f"pair_coeff {i + 1} {j + 1} {EPSILON[i][j]} {SIGMA[i][j]} {CUTOFFS[i][j]}")
    return "\n".join(lines)
