"""Energies, forces and stresses of a batch from a potential's atomic energies and edge gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from allegro_dist.data.graph import Batch
from allegro_dist.potential import assemble_forces, assemble_virial

Evaluator = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(edge_vectors, edge_index, atom_types) -> (atomic_energy, edge_gradient): a Potential or a loaded archive."""


class Prediction(NamedTuple):
    energy: Tensor  # [B] eV, float64
    forces: Tensor  # [N, 3] eV/Angstrom
    stress: Tensor | None  # [B, 3, 3] eV/Angstrom^3; None when not asked for


class Errors(NamedTuple):
    """Prediction minus label; zero where there is no label."""

    energy: Tensor  # [B] eV, total
    forces: Tensor  # [N, 3]
    stress: Tensor | None  # [B, 3, 3]

    def detached(self) -> Errors:
        """The same values without their history, which holds memory."""
        stress = None if self.stress is None else self.stress.detach()
        return Errors(self.energy.detach(), self.forces.detach(), stress)


def predict(evaluator: Evaluator, batch: Batch, *, stress: bool) -> Prediction:
    """Evaluate a batch."""
    atomic_energy, edge_gradient = evaluator(batch.edge_vectors, batch.edge_index, batch.atom_types)
    energy = torch.zeros_like(batch.energy).index_add(0, batch.atom_frame, atomic_energy)
    forces = assemble_forces(edge_gradient, batch.edge_index, batch.atom_types.shape[0])
    if not stress:
        return Prediction(energy, forces, None)
    virial = assemble_virial(edge_gradient, batch.edge_vectors, batch.edge_frame, batch.num_frames)
    return Prediction(energy, forces, -virial / batch.volume[:, None, None])


def errors_of(prediction: Prediction, batch: Batch) -> Errors:
    """Compare with the labels of the batch."""
    return Errors(
        (prediction.energy - batch.energy) * batch.has_energy,
        (prediction.forces - batch.forces) * batch.has_forces[:, None],
        None if prediction.stress is None else (prediction.stress - batch.stress) * batch.has_stress[:, None, None],
    )
