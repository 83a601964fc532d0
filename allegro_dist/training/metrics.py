"""Errors as sums and counts, which add over batches and ranks and are divided once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from allegro_dist.config import LossConfig
from allegro_dist.data.graph import Batch
from allegro_dist.training.distributed import Ranks
from allegro_dist.training.loss import loss_weights
from allegro_dist.training.prediction import Errors

QUANTITIES = ("energy", "energy_per_atom", "forces", "stress")


class ErrorSums:
    """Count, sum of magnitudes and sum of squares of each quantity, then of the forces on each type.

    Units: eV, eV, eV/Angstrom (components), eV/Angstrom^3 (components).
    """

    def __init__(self, type_names: Sequence[str], device: torch.device) -> None:
        self.type_names = tuple(type_names)
        self.sums = torch.zeros(len(QUANTITIES) + len(type_names), 3, dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, errors: Errors, batch: Batch) -> None:
        """Add the errors of a batch."""
        num_frames = batch.has_energy.sum()
        energy, per_atom = errors.energy, errors.energy / batch.num_atoms
        # Rows of a force error, so that one index_add serves all types.
        rows = torch.stack(
            [3.0 * batch.has_forces, errors.forces.abs().sum(1), errors.forces.square().sum(1)], dim=1
        ).double()
        by_type = torch.zeros_like(self.sums[len(QUANTITIES) :]).index_add_(0, batch.atom_types, rows)
        if errors.stress is None:
            stress = torch.zeros_like(self.sums[0])
        else:
            s = errors.stress.double()
            stress = torch.stack([9.0 * batch.has_stress.sum(), s.abs().sum(), s.square().sum()])
        head = torch.stack(
            [
                torch.stack([num_frames, energy.abs().sum(), energy.square().sum()]),
                torch.stack([num_frames, per_atom.abs().sum(), per_atom.square().sum()]),
                by_type.sum(0),
                stress,
            ]
        )
        self.sums += torch.cat([head, by_type])

    def reduce(self, ranks: Ranks) -> ErrorSums:
        """The sums over all ranks."""
        total = ErrorSums(self.type_names, self.sums.device)
        total.sums.copy_(self.sums)
        ranks.all_reduce(total.sums)
        return total

    def result(self) -> dict[str, Any]:
        """{"energy": {"mae", "rmse"}, .., "forces": {"mae", "rmse", "per_type": {type: ..}}}; no labels, no entry."""
        rows = self.sums.tolist()
        out = {name: _mean(row) for name, row in zip(QUANTITIES, rows, strict=False) if row[0]}
        per_type = {t: _mean(row) for t, row in zip(self.type_names, rows[len(QUANTITIES) :], strict=True) if row[0]}
        if per_type:
            out["forces"]["per_type"] = per_type
        return out

    def loss(self, config: LossConfig) -> float:
        """The loss of the data set as a whole."""
        weights = (0.0, *loss_weights(config).tolist())
        return sum(w * sq / n for w, (n, _, sq) in zip(weights, self.sums.tolist(), strict=False) if n)


def _mean(row: Sequence[float]) -> dict[str, Any]:
    count, magnitude, square = row
    return {"mae": magnitude / count, "rmse": math.sqrt(square / count)}
