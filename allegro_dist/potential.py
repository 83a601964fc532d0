"""A potential: model, per-type scale and shift, core repulsion; and how forces and virials follow from its output.

Training, ASE and LAMMPS all use this one path: edge vectors in, atomic energies and edge gradients g_ij = dE/dr_ij
out.  Everything else is linear in g_ij:

    F_center += g_ij      F_neighbor -= g_ij      virial = -sum_ij r_ij (x) g_ij      stress = -virial / volume
"""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from ase.data import atomic_numbers
from torch import Tensor, nn

from allegro_dist.config import ConfigError, ModelConfig
from allegro_dist.models.base import InteratomicModel
from allegro_dist.models.registry import build_model
from allegro_dist.nn.radial import envelope
from allegro_dist.nn.zbl import zbl_energy

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class Parameters(NamedTuple):
    """What a potential is made from, beside its weights; see build_potential."""

    config: ModelConfig
    type_names: tuple[str, ...]
    avg_num_neighbors: tuple[float, ...]
    per_type_scale: tuple[float, ...]
    per_type_shift: tuple[float, ...]


class CoreRepulsion(nn.Module):
    """ZBL energies of edges, halved between the two ends and brought to zero at the pair's cutoff by the envelope."""

    charges: Tensor
    inverse_cutoffs: Tensor

    def __init__(self, charges: Tensor, cutoffs: Tensor, envelope_power: int) -> None:
        super().__init__()
        self.envelope_power = envelope_power
        self.num_types = len(charges)
        self.register_buffer("charges", charges, persistent=False)
        self.register_buffer("inverse_cutoffs", 1.0 / cutoffs.flatten(), persistent=False)

    def forward(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Tensor:
        """[E, 3], [2, E], [N] -> [N] energies, eV."""
        r = torch.linalg.vector_norm(edge_vectors, dim=1)
        type_i, type_j = atom_types.index_select(0, edge_index[0]), atom_types.index_select(0, edge_index[1])
        x = r * self.inverse_cutoffs.index_select(0, type_i * self.num_types + type_j)
        pair = zbl_energy(r, self.charges.index_select(0, type_i), self.charges.index_select(0, type_j))
        edge_energy = 0.5 * pair * envelope(x, self.envelope_power)
        zeros = torch.zeros(atom_types.shape[0], dtype=r.dtype, device=r.device)
        return zeros.index_add(0, edge_index[0], edge_energy)


class Potential(nn.Module):
    """E_i = scale[type_i] model_i + shift[type_i] (+ ZBL); scale, shift and sum in float64.

    In training mode the edge gradient carries the graph for a second derivative; in eval mode it does not.
    """

    __jit_unused_properties__ = ("parameters_used",)
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        model: InteratomicModel,
        scale: Tensor,
        shift: Tensor,
        train_scale_shift: bool,
        repulsion: CoreRepulsion | None,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.model = model
        if train_scale_shift:
            self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)
        else:
            self.register_buffer("scale", scale)
            self.register_buffer("shift", shift)
        self.repulsion = repulsion
        self.dtype = dtype
        self._used: Parameters | None = None

    @property
    def parameters_used(self) -> Parameters:
        """What build_potential made it from."""
        if self._used is None:
            raise ValueError("this potential was not made by build_potential, so it does not know its configuration")
        return self._used

    def atomic_energy(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Tensor:
        """[E, 3], [2, E], [N] -> [N] energies, eV, float64; differentiable."""
        vectors = edge_vectors.to(self.dtype)
        energy = self.model(vectors, edge_index, atom_types).to(torch.float64)
        energy = energy * self.scale.index_select(0, atom_types) + self.shift.index_select(0, atom_types)
        if self.repulsion is not None:
            energy = energy + self.repulsion(edge_vectors.to(torch.float64), edge_index, atom_types)
        return energy

    def forward(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and their gradient.

        Args:
            edge_vectors: [E, 3] r_neighbor - r_center, Angstrom.
            edge_index: [2, E] center and neighbor, sorted by center.
            atom_types: [N].

        Returns: atomic_energy [N] eV (float64), edge_gradient [E, 3] eV/Angstrom (dtype of edge_vectors).
        """
        # a clone, since freezing an archive takes `detach` away and the caller's tensor must not be touched
        vectors = edge_vectors.detach().clone().requires_grad_(True)
        energy = self.atomic_energy(vectors, edge_index, atom_types)
        gradient = torch.autograd.grad([energy.sum()], [vectors], create_graph=self.training)[0]
        assert gradient is not None  # for TorchScript, whose autograd returns Optional
        if self.training:
            return energy, gradient
        return energy.detach(), gradient


def assemble_forces(edge_gradient: Tensor, edge_index: Tensor, num_atoms: int) -> Tensor:
    """Forces [N, 3] from edge_gradient [E, 3], eV/Angstrom."""
    zeros = torch.zeros(num_atoms, 3, dtype=edge_gradient.dtype, device=edge_gradient.device)
    return zeros.index_add(0, edge_index[0], edge_gradient).index_add(0, edge_index[1], -edge_gradient)


def assemble_virial(edge_gradient: Tensor, edge_vectors: Tensor, edge_frame: Tensor, num_frames: int) -> Tensor:
    """Virial tensors [B, 3, 3], eV, symmetrized, of the frames that the edges belong to (edge_frame [E])."""
    per_edge = -edge_vectors.to(edge_gradient.dtype).unsqueeze(2) * edge_gradient.unsqueeze(1)
    zeros = torch.zeros(num_frames, 3, 3, dtype=per_edge.dtype, device=per_edge.device)
    virial = zeros.index_add(0, edge_frame, per_edge)
    return 0.5 * (virial + virial.transpose(1, 2))


def pair_cutoffs(config: ModelConfig, type_names: Sequence[str]) -> Tensor:
    """[T, T] cutoff of each ordered pair (center, neighbor), Angstrom, float64."""
    cutoffs = torch.full((len(type_names), len(type_names)), config.r_max, dtype=torch.float64)
    for pair, cutoff in config.pair_cutoffs.items():
        for name in pair.split("-"):
            if name not in type_names:
                near = difflib.get_close_matches(name, type_names, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(f"model.pair_cutoffs '{pair}': type '{name}' is not among {list(type_names)}{hint}")
        center, neighbor = (list(type_names).index(name) for name in pair.split("-"))
        cutoffs[center, neighbor] = cutoff
    return cutoffs


def build_potential(
    config: ModelConfig,
    *,
    type_names: Sequence[str],
    avg_num_neighbors: float | Sequence[float],
    per_type_scale: Sequence[float],
    per_type_shift: Sequence[float],
) -> Potential:
    """A potential with fresh weights drawn from torch's generator.

    Args:
        type_names: chemical symbols of the T types.
        avg_num_neighbors: one number, or one per type.
        per_type_scale, per_type_shift: [T], eV.

    The arguments are kept as `potential.parameters_used`, from which a checkpoint can build it again.
    """
    num_types = len(type_names)
    if isinstance(avg_num_neighbors, (int, float)):
        avg_num_neighbors = [float(avg_num_neighbors)] * num_types
    for name, values in (
        ("avg_num_neighbors", avg_num_neighbors),
        ("per_type_scale", per_type_scale),
        ("per_type_shift", per_type_shift),
    ):
        if len(values) != num_types:
            raise ConfigError(
                f"{name}: expected {num_types} values, one for each of {list(type_names)}, got {len(values)}"
            )
    cutoffs = pair_cutoffs(config, type_names)
    repulsion = None
    if config.zbl:
        unknown = [n for n in type_names if n not in atomic_numbers]
        if unknown:
            raise ConfigError(f"model.zbl needs chemical symbols as type names, got {unknown}")
        charges = torch.tensor([float(atomic_numbers[n]) for n in type_names], dtype=torch.float64)
        repulsion = CoreRepulsion(charges, cutoffs, config.repulsion_power)
    dtype, previous = DTYPES[config.dtype], torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = build_model(config, cutoffs, avg_num_neighbors)
    finally:
        torch.set_default_dtype(previous)
    scale = torch.tensor(per_type_scale, dtype=torch.float64)
    shift = torch.tensor(per_type_shift, dtype=torch.float64)
    potential = Potential(model, scale, shift, config.train_scale_shift, repulsion, dtype)
    potential._used = Parameters(
        config, tuple(type_names), tuple(avg_num_neighbors), tuple(per_type_scale), tuple(per_type_shift)
    )
    return potential


def in_dtype(potential: Potential, dtype: Literal["float32", "float64"]) -> Potential:
    """The same weights in another precision.

    Constants (normalizations, Clebsch-Gordan coefficients, inverse cutoffs) are computed anew: those of a float32
    model, widened, would leave float32's rounding in a float64 one.
    """
    used = potential.parameters_used
    if dtype == used.config.dtype:
        return potential
    config = replace(used.config, dtype=dtype)
    other = build_potential(config, **{k: v for k, v in used._asdict().items() if k != "config"})
    weights = dict(potential.named_parameters())
    with torch.no_grad():
        for name, weight in other.named_parameters():
            weight.copy_(weights[name])
    return other
