"""Errors of a potential, or of any evaluator such as a loaded archive, on labelled frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from allegro_dist.data.frames import FrameList, Graphs
from allegro_dist.data.graph import Batch
from allegro_dist.data.structure import Array, DataError, Structure
from allegro_dist.potential import DTYPES, Potential, pair_cutoffs
from allegro_dist.training.distributed import Ranks
from allegro_dist.training.metrics import ErrorSums
from allegro_dist.training.prediction import Evaluator, Prediction, errors_of, predict

CPU_EDGES, CUDA_EDGES = 8_000, 200_000
"""Edges per batch: on a CPU what stays in cache, on a GPU what fills it."""


class Parity(NamedTuple):
    """Reference and predicted values [n, 2] for parity plots."""

    energy: Array  # per atom, less the shifts, eV
    forces: Array  # components, eV/Angstrom
    stress: Array  # components, eV/Angstrom^3


class EvaluationBatches:
    """The batches of bounded size, in order, of some graphs; each is made when it is its turn.

    Args:
        indices: the graphs to take; all if not given.
    """

    def __init__(self, graphs: Graphs, device: torch.device, indices: Sequence[int] | None = None) -> None:
        limit = CUDA_EDGES if device.type == "cuda" else CPU_EDGES
        self.graphs = graphs
        self.batches: list[list[int]] = []
        num_edges, edges = graphs.num_edges, 0
        for index in range(len(graphs)) if indices is None else indices:
            if not self.batches or edges + num_edges[index] > limit:
                self.batches.append([])
                edges = 0
            self.batches[-1].append(index)
            edges += int(num_edges[index])

    def __iter__(self) -> Iterator[Batch]:
        return map(self.graphs.batch, self.batches)


def predictions(
    evaluator: Evaluator, batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[Prediction, Batch]]:
    """Evaluate batch after batch; stress only where a batch has labels of it."""
    for batch in batches:
        yield predict(evaluator, batch.to(device), stress=bool(batch.has_stress.any())), batch.to(device)


def error_sums(
    evaluator: Evaluator, batches: Iterable[Batch], type_names: Sequence[str], device: torch.device
) -> ErrorSums:
    """The error sums over batches, on this rank."""
    sums = ErrorSums(type_names, device)
    for prediction, batch in predictions(evaluator, batches, device):
        sums.add(errors_of(prediction, batch), batch)
    return sums


def evaluate(
    evaluator: Evaluator,
    structures: Sequence[Structure],
    *,
    type_names: Sequence[str],
    cutoffs: Tensor,
    dtype: torch.dtype = torch.float64,
    ranks: Ranks | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """MAE and RMSE of energy and energy per atom (eV), forces (eV/Angstrom, also per type), stress (eV/Angstrom^3).

    Args:
        cutoffs: [T, T] cutoff of each ordered type pair [center, neighbor], Angstrom.
        dtype: of the edge vectors that are handed to the evaluator.
        ranks: share the frames out over these.

    Returns: {"num_frames", "num_atoms", "energy": {"mae", "rmse"}, "energy_per_atom", "forces": {"mae", "rmse",
    "per_type"}, "stress"}; a quantity without labels has no entry.  Raises DataError when the frames have no labels.
    """
    device = torch.device(device)
    mine = structures if ranks is None else structures[ranks.rank :: ranks.size]
    graphs = FrameList(mine).graphs(type_names, cutoffs, dtype)
    sums = error_sums(evaluator, EvaluationBatches(graphs, device), type_names, device)
    if ranks is not None:
        sums = sums.reduce(ranks)
    errors = sums.result()
    if not errors:
        raise DataError(f"{structures[0].source}: none of the {len(structures)} frames has energy, forces or stress")
    return {"num_frames": len(structures), "num_atoms": sum(len(s.symbols) for s in structures), **errors}


def evaluate_potential(potential: Potential, structures: Sequence[Structure]) -> dict[str, Any]:
    """`evaluate` for a potential, on the device that it is on."""
    used = potential.parameters_used
    return evaluate(
        potential.eval(),
        structures,
        type_names=used.type_names,
        cutoffs=pair_cutoffs(used.config, used.type_names),
        dtype=DTYPES[used.config.dtype],
        device=potential.shift.device,
    )


def parity_of(potential: Potential, batches: Iterable[Batch], device: torch.device) -> Parity:
    """Reference and predicted values of all labels in the batches."""
    energy, forces, stress = [np.zeros((0, 2))], [np.zeros((0, 2))], [np.zeros((0, 2))]
    for prediction, batch in predictions(potential.eval(), batches, device):
        shifts = torch.zeros_like(batch.energy).index_add(
            0, batch.atom_frame, potential.shift.detach()[batch.atom_types]
        )
        both = torch.stack([batch.energy, prediction.energy], 1)
        energy.append(((both - shifts[:, None]) / batch.num_atoms[:, None])[batch.has_energy].cpu().numpy())
        pairs = torch.stack([batch.forces, prediction.forces], 2)[batch.has_forces]
        forces.append(pairs.reshape(-1, 2).double().cpu().numpy())
        if prediction.stress is not None:
            pairs = torch.stack([batch.stress, prediction.stress], 3)[batch.has_stress]
            stress.append(pairs.reshape(-1, 2).double().cpu().numpy())
    return Parity(np.concatenate(energy), np.concatenate(forces), np.concatenate(stress))
