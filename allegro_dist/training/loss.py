"""The loss: weighted mean squared errors of energy per atom, force components and stress components.

    loss = w_E sum_f (dE_f / N_f)^2 / F  +  w_F sum_a |dF_a|^2 / 3A  +  w_S sum_f |dS_f|^2 / 9S

F, A, S are the frames, atoms and frames of the *global* batch that have the label.  Each rank takes its sums over these
counts, so the gradients of the ranks add up to that of one process.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from allegro_dist.config import LossConfig
from allegro_dist.data.graph import Batch
from allegro_dist.training.prediction import Errors


def loss_weights(config: LossConfig, progress: float = 1.0) -> Tensor:
    """[3] weights of energy, forces, stress when `progress` of the run is done; validation uses those of the end."""
    first = (config.energy, config.forces, config.stress)
    given = (config.final_energy, config.final_forces, config.final_stress)
    last = [before if after is None else after for before, after in zip(first, given, strict=True)]
    along = min(max(0.0, (progress - 1.0) / config.final_share + 1.0), 1.0)
    if config.transition == "step":
        along = float(along > 0.0)
    return torch.lerp(torch.tensor(first, dtype=torch.float64), torch.tensor(last, dtype=torch.float64), along)


def batch_loss(errors: Errors, batch: Batch, coefficients: Sequence[float]) -> Tensor:
    """Sum of squared errors times coefficients (weight / global count, for energy, forces and stress); float64."""
    per_atom = errors.energy / batch.num_atoms
    loss = coefficients[0] * per_atom.square().sum()
    loss = loss + coefficients[1] * errors.forces.square().sum().double()
    if errors.stress is not None and coefficients[2]:
        loss = loss + coefficients[2] * errors.stress.square().sum().double()
    return loss
