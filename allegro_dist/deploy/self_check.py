"""The self-check: edges with the energies and gradients that the Python model gave at export.

Whoever loads an archive evaluates these edges on the device and evaluator it will use, and refuses to go on if the
results differ by more than the tolerance: a wrong instruction set, a broken library or a damaged file is found before
the first step, not in the physics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from allegro_dist.potential import Potential, in_dtype, pair_cutoffs

# Largest error in units of the root mean square of the reference: some 100 times the rounding of each dtype.
RELATIVE_TOLERANCE = {"float32": 5e-5, "float64": 1e-11}
# In float32, trained models may lose more to cancellation: this many times what the Python model itself loses.
LOSSES = 10.0


class SelfCheck(NamedTuple):
    """Inputs, reference outputs and tolerances."""

    edge_vectors: Tensor  # [E, 3] float64, Angstrom
    edge_index: Tensor  # [2, E]
    atom_types: Tensor  # [N]
    atomic_energy: Tensor  # [N] float64, eV
    edge_gradient: Tensor  # [E, 3] float64, eV/Angstrom
    energy_tolerance: float  # eV
    gradient_tolerance: float  # eV/Angstrom
    float32_energy_tolerance: float  # of an evaluation in float32, whatever the archive's dtype
    float32_gradient_tolerance: float


class SelfCheckError(RuntimeError):
    """The evaluator does not reproduce the archive's reference values."""


def make_self_check(potential: Potential, num_atoms: int = 24, seed: int = 1) -> SelfCheck:
    """Reference values of `potential`, in float64, on a random cluster that holds every type.

    Atoms fill a ball at about the density of a solid, no two closer than a third of the cutoff, each of a random type.
    """
    used = potential.parameters_used
    cutoffs = pair_cutoffs(used.config, used.type_names)
    generator = torch.Generator().manual_seed(seed)
    r_max = float(cutoffs.max())
    num_types = len(used.type_names)
    num_atoms = max(num_atoms, 2 * num_types)
    radius, closest = r_max * (num_atoms / 24) ** (1 / 3), r_max / 3
    positions: list[Tensor] = []
    while len(positions) < num_atoms:
        trial = (2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1) * radius
        if trial.norm() < radius and all((trial - p).norm() > closest for p in positions):
            positions.append(trial)
        else:
            closest *= 0.999  # a crowded ball: let atoms come a little closer rather than search for ever
    places = torch.stack(positions)
    types = torch.cat(
        (torch.arange(num_types), torch.randint(num_types, (num_atoms - num_types,), generator=generator))
    )
    vectors = places.unsqueeze(0) - places.unsqueeze(1)
    near = vectors.norm(dim=2) < cutoffs[types.unsqueeze(1), types.unsqueeze(0)]
    near.fill_diagonal_(False)
    edge_index = near.nonzero().T.contiguous()
    edge_vectors = vectors[near]
    energy, gradient = in_dtype(potential, "float64").eval()(edge_vectors, edge_index, types)
    rounded = [x.double() for x in in_dtype(potential, "float32").eval()(edge_vectors, edge_index, types)]
    interaction = energy - potential.shift.detach()[types]
    scales = [float(x.square().mean().sqrt()) for x in (interaction, gradient)]
    float64 = [RELATIVE_TOLERANCE["float64"] * scale for scale in scales]
    float32 = [
        max(RELATIVE_TOLERANCE["float32"] * scale, LOSSES * float((narrow - wide).abs().max()))
        for scale, narrow, wide in zip(scales, rounded, (energy, gradient), strict=True)
    ]
    own = float32 if used.config.dtype == "float32" else float64
    return SelfCheck(edge_vectors, edge_index, types, energy.detach(), gradient, *own, *float32)


def run_self_check(check: SelfCheck, evaluate: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
    """Compare an evaluator with the reference; raises SelfCheckError that names errors and tolerances."""
    energy, gradient = evaluate(check.edge_vectors, check.edge_index, check.atom_types)
    energy_error = float((energy.cpu().double() - check.atomic_energy).abs().max())
    gradient_error = float((gradient.cpu().double() - check.edge_gradient).abs().max())
    # `not (a <= b)` also refuses NaN
    if not (energy_error <= check.energy_tolerance and gradient_error <= check.gradient_tolerance):
        raise SelfCheckError(
            f"self-check failed: energy error {energy_error:.3g} eV (tolerance {check.energy_tolerance:.3g}), "
            f"gradient error {gradient_error:.3g} eV/Angstrom (tolerance {check.gradient_tolerance:.3g})"
        )
