"""A potential evaluated by the compiled training step instead of torch's operations: the same numbers, faster."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from allegro_dist.compiled import is_built
from allegro_dist.config import ConfigError
from allegro_dist.fused_program import fused_program, merge
from allegro_dist.models.allegro import Allegro
from allegro_dist.potential import Potential
from allegro_dist.training.kernel import TrainingKernel
from allegro_dist.training.prediction import Evaluator

FEW_TYPES = 8
"""Up to so many types, merging the weights of all pairs costs less than finding out which are needed."""


def make_evaluator(
    potential: Potential, step: Literal["auto", "fused", "eager"], device: torch.device, num_threads: int
) -> Evaluator:
    """What evaluates a potential in training (training.step); raises ConfigError where `fused` cannot be had."""
    reason = why_not_fused(potential, device)
    if step == "fused" and reason:
        raise ConfigError(f"training.step: fused: {reason}")
    return potential if step == "eager" or reason else FusedStep(potential, num_threads)


def why_not_fused(potential: Potential, device: torch.device) -> str:
    """Why the fused step cannot evaluate a potential on a device; nothing if it can."""
    if not isinstance(potential.model, Allegro):
        return f"it knows Allegro models, not {type(potential.model).__name__}"
    if device.type != "cpu":
        return f"it runs on CPUs, not on {device}"
    if not is_built():
        return "the compiled library is not installed (scripts/setup.sh or `pip install .` builds it)"
    return ""


class FusedStep:
    """Evaluates a potential, whose weights may change between calls, like the potential itself.

    In training mode energies and edge gradients can be differentiated, once, with respect to weights, scales and
    shifts.

    Args:
        num_threads: of the compiled step.
        instruction_set: auto | avx512 | avx2 | baseline.
    """

    def __init__(self, potential: Potential, num_threads: int = 1, instruction_set: str = "auto") -> None:
        assert isinstance(potential.model, Allegro)
        self.potential, self.model = potential, potential.model
        self.all_types = torch.arange(self.model.num_types)
        self.wavenumbers = dict(self.model.embedding.named_parameters()).get("wavenumbers")
        self.kernel = TrainingKernel(
            fused_program(potential),
            potential.dtype,
            train_wavenumbers=self.wavenumbers is not None,
            num_threads=num_threads,
            instruction_set=instruction_set,
        )

    def __call__(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> tuple[Tensor, Tensor]:
        """[E, 3], [2, E], [N] -> atomic_energy [N] eV (float64), edge_gradient [E, 3] eV/Angstrom."""
        with torch.set_grad_enabled(self.potential.training):
            return self._evaluate(edge_vectors, edge_index, atom_types)

    def _evaluate(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> tuple[Tensor, Tensor]:
        potential, dtype = self.potential, edge_vectors.dtype
        present = self._present(atom_types)
        weights, vectors = self._merged_weights(present), edge_vectors.to(potential.dtype)
        energy, gradient = self.kernel(weights, present, vectors, edge_index, atom_types)
        scale = potential.scale.index_select(0, atom_types)
        energy = energy * scale + potential.shift.index_select(0, atom_types)
        gradient = gradient.to(dtype) * scale.index_select(0, edge_index[0]).to(dtype).unsqueeze(1)
        if potential.repulsion is not None:
            repulsion = _repulsion(potential, edge_vectors, edge_index, atom_types)
            energy, gradient = energy + repulsion[0], gradient + repulsion[1]
        return energy, gradient

    def _present(self, atom_types: Tensor) -> Tensor:
        """The types to merge radial weights for: all, or where there are many, those that atoms have."""
        return self.all_types if len(self.all_types) <= FEW_TYPES else torch.unique(atom_types)

    def _merged_weights(self, types: Tensor) -> Tensor:
        """All merged weights in the kernel's order."""
        every = len(types) == len(self.all_types)
        *weights, radial = merge(self.model, lambda weight: weight, None if every else types).weights().values()
        if self.wavenumbers is not None:
            weights.append(self.wavenumbers)
        return torch.cat([weight.reshape(-1) for weight in (*weights, radial)])


def _repulsion(
    potential: Potential, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor
) -> tuple[Tensor, Tensor]:
    """The core repulsion, which has no weights: [N] energies and [E, 3] gradients."""
    assert potential.repulsion is not None
    with torch.enable_grad():
        vectors = edge_vectors.detach().clone().requires_grad_(True)
        energy = potential.repulsion(vectors.to(torch.float64), edge_index, atom_types)
        (gradient,) = torch.autograd.grad(energy.sum(), vectors)
    return energy.detach(), gradient
