"""A committee on labelled frames: errors of its mean, and how well the deviation of its members tells them.

The deviation of an atom is that of the pair style, d_a = sqrt(1/K sum_k |F_ka - mean F_a|^2) (docs/lammps.md), that of
a frame the standard deviation of its energy per atom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from allegro_dist.data.graph import Batch
from allegro_dist.data.structure import Array
from allegro_dist.training.metrics import ErrorSums
from allegro_dist.training.prediction import Evaluator, Prediction, errors_of, predict

NUM_BINS = 5


class Pairs(NamedTuple):
    """Deviations, and the sizes of the errors of the mean."""

    deviation: Array
    error: Array


class CommitteeErrors(NamedTuple):
    """Of a committee on labelled frames."""

    mean: dict[str, Any]  # errors of the mean, as ErrorSums.result gives them
    forces: Pairs  # of atoms, eV/Angstrom
    energy_per_atom: Pairs  # of frames, eV


def committee_errors(members: Sequence[Evaluator], batches: Iterable[Batch], type_names: Sequence[str],
                     device: torch.device) -> CommitteeErrors:  # fmt: skip
    """Evaluate all members of a committee on batches of labelled frames."""
    sums = ErrorSums(type_names, device)
    forces, energies = [np.zeros((0, 2))], [np.zeros((0, 2))]
    for batch in batches:
        batch = batch.to(device)
        stress = bool(batch.has_stress.any())
        predictions = [predict(member, batch, stress=stress) for member in members]
        mean, spread = mean_of(predictions)
        errors = errors_of(mean, batch)
        sums.add(errors, batch)
        by_frame = torch.stack([spread.energy, errors.energy.abs()], 1) / batch.num_atoms[:, None]
        by_atom = torch.stack([spread.forces, torch.linalg.vector_norm(errors.forces, dim=1)], 1)
        energies.append(by_frame[batch.has_energy].cpu().numpy())
        forces.append(by_atom[batch.has_forces].double().cpu().numpy())
    return CommitteeErrors(sums.result(), _pairs(forces), _pairs(energies))


class Spread(NamedTuple):
    """Deviation of members from their mean."""

    energy: Tensor  # [B] eV
    forces: Tensor  # [N] eV/Angstrom


def mean_of(predictions: Sequence[Prediction]) -> tuple[Prediction, Spread]:
    """The mean of several predictions of one batch, and the members' root mean square deviation from it."""
    energy, forces = (torch.stack(values) for values in zip(*((p.energy, p.forces) for p in predictions), strict=True))
    stresses = [p.stress for p in predictions if p.stress is not None]
    mean = Prediction(energy.mean(0), forces.mean(0), torch.stack(stresses).mean(0) if stresses else None)
    deviations = (forces - mean.forces).square().sum(2).mean(0).sqrt()
    return mean, Spread((energy - mean.energy).square().mean(0).sqrt(), deviations)


def calibration(pairs: Pairs) -> dict[str, Any] | None:
    """How well deviations tell errors; None for fewer than three pairs, or where either is always the same.

    Returns: {"count", "pearson", "spearman", "rms_error", "rms_deviation", "bins": [{"deviation", "error", "count"}]},
    bins of equal counts with root mean squares, by deviation.
    """
    if len(pairs.error) < 3 or np.ptp(pairs.error) == 0 or np.ptp(pairs.deviation) == 0:
        return None
    order = np.argsort(pairs.deviation, kind="stable")
    bins = [part for part in np.array_split(order, NUM_BINS) if len(part)]
    return {
        "count": len(pairs.error),
        "pearson": float(pearsonr(*pairs).statistic),
        "spearman": float(spearmanr(*pairs).statistic),
        "rms_error": _rms(pairs.error),
        "rms_deviation": _rms(pairs.deviation),
        "bins": [{"deviation": _rms(pairs.deviation[b]), "error": _rms(pairs.error[b]), "count": len(b)} for b in bins],
    }


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _pairs(parts: Sequence[Array]) -> Pairs:
    return Pairs(*np.concatenate(parts).T)
