"""Whether an imported model is the peer's: the same energies, forces and stresses on the peer's random structures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from allegro_dist.data.graph import Graph, build_graph
from allegro_dist.engine import Engine
from allegro_dist.importing.errors import ImportModelError
from allegro_dist.importing.peer_process import PeerFrame
from allegro_dist.potential import Potential, assemble_forces, assemble_virial, pair_cutoffs

TOLERANCE = {"float32": 1e-6, "float64": 1e-10}

Evaluate = Callable[[Graph], tuple[Tensor, Tensor]]
"""A graph's atomic energies [N] eV and edge gradients [E, 3] eV/Angstrom."""


class Differences(NamedTuple):
    """Root mean squares of differences from the peer, in units of the root mean square of its values."""

    energies: float
    """Of atoms, less the shifts of their types."""
    forces: float
    stress: float

    def __str__(self) -> str:
        return "  ".join(f"{name} {value:.1e}" for name, value in self._asdict().items())


def by_potential(potential: Potential) -> Evaluate:
    return lambda graph: potential(graph.edge_vectors, graph.edge_index, graph.atom_types)


def by_engine(engine: Engine) -> Evaluate:
    def evaluate(graph: Graph) -> tuple[Tensor, Tensor]:
        energy, gradient = engine.evaluate_atoms(graph.edge_vectors, graph.edge_index, graph.atom_types)
        return torch.from_numpy(energy), torch.from_numpy(gradient)

    return evaluate


def graphs_of(potential: Potential, frames: Sequence[PeerFrame]) -> list[Graph]:
    """The frames as the potential sees them, in float64."""
    used = potential.parameters_used
    cutoffs = pair_cutoffs(used.config, used.type_names)
    return [build_graph(frame.structure, used.type_names, cutoffs, torch.float64) for frame in frames]


def compare(evaluate: Evaluate, potential: Potential, frames: Sequence[PeerFrame]) -> Differences:
    """Differences of `evaluate`, which runs `potential` in some way, from the peer's values."""
    found: dict[str, list[Tensor]] = {name: [] for name in Differences._fields}
    expected: dict[str, list[Tensor]] = {name: [] for name in Differences._fields}
    for graph, frame in zip(graphs_of(potential, frames), frames, strict=True):
        energies, gradient = evaluate(graph)
        gradient = gradient.double()
        shifts = potential.shift.detach()[graph.atom_types]
        found["energies"].append(energies.double() - shifts)
        expected["energies"].append(torch.from_numpy(frame.energies) - shifts)
        found["forces"].append(assemble_forces(gradient, graph.edge_index, graph.num_atoms))
        expected["forces"].append(graph.forces)
        if graph.has_stress:
            one = torch.zeros(graph.num_edges, dtype=torch.int64)
            found["stress"].append(-assemble_virial(gradient, graph.edge_vectors, one, 1) / graph.volume)
            expected["stress"].append(graph.stress)
    return Differences(*(_relative(found[name], expected[name]) for name in Differences._fields))


def check(differences: Differences, dtype: str, extra: float = 0.0) -> None:
    """Raise ImportModelError when a difference exceeds the tolerance of the dtype and what else is allowed."""
    tolerance = TOLERANCE[dtype] + extra
    for name, value in differences._asdict().items():
        if not value <= tolerance:  # refuses NaN too
            raise ImportModelError(
                f"{name} differ from the peer's by {value:.2g}, more than {tolerance:.2g}, of their rms"
            )


def _relative(found: list[Tensor], expected: list[Tensor]) -> float:
    a, b = (torch.cat([tensor.detach().flatten() for tensor in tensors]) for tensors in (found, expected))
    return float((a - b).square().mean().sqrt() / b.square().mean().sqrt())
