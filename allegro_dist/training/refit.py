"""Scale and shifts of a trained potential fitted to new data, whose reference energies may be others.

Energies and forces are linear in both, so each is a least-squares problem, solved before the first step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from allegro_dist.data.frames import Graphs
from allegro_dist.data.statistics import least_squares_shift
from allegro_dist.data.structure import DataError
from allegro_dist.potential import Potential
from allegro_dist.training.distributed import Ranks
from allegro_dist.training.evaluate import EvaluationBatches, predictions
from allegro_dist.training.prediction import Evaluator, predict


def scale_factor(potential: Potential, evaluator: Evaluator, graphs: Graphs, ranks: Ranks) -> float:
    """The factor of all scales that fits the forces best: <F_m . (F - F_0)> / <F_m . F_m>.

    F_m is the model's part of the forces, F_0 that of the core repulsion.  Raises DataError for forces that are missing
    or unlike the model's.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
    for batch in _share(graphs, ranks):
        batch = batch.to(ranks.device)
        forces = predict(evaluator, batch, stress=False).forces
        with _without_model(potential):
            rest = predict(evaluator, batch, stress=False).forces
        model, wanted = ((f - rest)[batch.has_forces].double() for f in (forces, batch.forces))
        sums += torch.stack([(model * wanted).sum(), model.square().sum()])
    ranks.all_reduce(sums)
    product, square = sums.tolist()
    if not product > 0:
        raise DataError("start.refit_scale: the training frames have no forces that resemble those of start.model")
    return float(product / square)


def shift_changes(evaluator: Evaluator, graphs: Graphs, free: Sequence[bool], ranks: Ranks) -> tuple[float, ...]:
    """[T] what to add to the shifts so that the energies per atom of a free type fit best, eV; 0 for the other types.

    Where the compositions leave changes undetermined, those nearest to equal are taken, as for a new model.
    """
    num_types = len(free)
    # atoms of each type, energy that is missing, whether there is one
    rows = torch.zeros(len(graphs), num_types + 2, dtype=torch.float64, device=ranks.device)
    mine, first = rows[ranks.rank :: ranks.size], 0
    for prediction, batch in predictions(evaluator, _share(graphs, ranks), ranks.device):
        part = mine[first : first + batch.num_frames]
        counted = torch.bincount(batch.atom_frame * num_types + batch.atom_types, minlength=part.shape[0] * num_types)
        part[:, :num_types] = counted.view(-1, num_types)
        part[:, -2], part[:, -1] = batch.energy - prediction.energy, batch.has_energy
        first += batch.num_frames
    ranks.all_reduce(rows)
    values, chosen = rows.cpu().numpy(), np.asarray(free)
    used = (values[:, -1] > 0) & values[:, :num_types][:, chosen].any(1)
    changes = np.zeros(num_types)
    if used.any():
        changes[chosen] = least_squares_shift(values[used][:, :num_types][:, chosen], values[used, -2])
    return tuple(changes.tolist())


@contextmanager
def _without_model(potential: Potential) -> Iterator[None]:
    """Inside, the model counts nothing: what is left are shifts and core repulsion."""
    scale = potential.scale.detach().clone()
    with torch.no_grad():
        potential.scale.zero_()
        try:
            yield
        finally:
            potential.scale.copy_(scale)


def _share(graphs: Graphs, ranks: Ranks) -> EvaluationBatches:
    return EvaluationBatches(graphs, ranks.device, range(ranks.rank, len(graphs), ranks.size))
