"""How finely to tabulate the two-body functions: measured on structures, bounded by a tolerance.

The compiled evaluator replaces everything that depends on an ordered type pair and a distance alone by quintic Hermite
splines (two continuous derivatives, exactly zero at the cutoff).  The number of intervals is the smallest whose
float64 forces deviate from those without tables by less than the tolerance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allegro_dist.compiled import is_built
from allegro_dist.deploy.archive import save_archive
from allegro_dist.deploy.engine_data import Tables
from allegro_dist.deploy.self_check import make_self_check
from allegro_dist.engine import Engine
from allegro_dist.fused_program import fused_program
from allegro_dist.potential import Potential, assemble_forces, pair_cutoffs

CANDIDATES = (32, 64, 128, 256, 512, 1024)
NUM_DISTANCES = 400  # of each type pair
CLOSEST = 0.9  # distances go down to this share of the smallest one in the structures


class Probe(NamedTuple):
    """The edges of a structure."""

    edge_vectors: Tensor  # [E, 3], Angstrom
    edge_index: Tensor  # [2, E], sorted by center
    atom_types: Tensor  # [N]


class TableError(NamedTuple):
    """Root mean square deviations because of tables, eV/Angstrom."""

    forces: float
    """Of the forces in the structures."""
    pairs: float
    """Of the gradient of lone pairs over the distances in use."""


def choose_tables(
    potential: Potential, probes: Sequence[Probe], tolerance: float
) -> tuple[Tables, dict[str, float | int]]:
    """The coarsest tables within the tolerance.

    Args:
        probes: structures like those that the model will meet; a random cluster when there are none.
        tolerance: allowed deviation in units of the root mean square of the forces in the probes; 0: no tables.

    Returns: the tables, and what the model card says about them. No tables (0 intervals) where the fused evaluator is
    not built, does not know the model, or cannot meet the tolerance.
    """
    if tolerance <= 0 or not is_built() or not fused_program(potential):
        return Tables(), {}
    check = make_self_check(potential)
    cluster = Probe(check.edge_vectors, check.edge_index, check.atom_types)
    probes = list(probes) or [cluster]
    pairs = _lone_pairs(potential, min(float(p.edge_vectors.norm(dim=1).min()) for p in probes if len(p.edge_vectors)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        save_archive(path, potential)
        exact = Engine(path, evaluator="fused", dtype="float64", table_intervals=0)
        forces = [_forces(exact, probe) for probe in probes]
        gradient = exact.evaluate_atoms(*pairs)[1]
        force_rms = _rms(np.concatenate(forces))
        for intervals in CANDIDATES:
            engine = Engine(path, evaluator="fused", dtype="float64", table_intervals=intervals)
            changes = [_forces(engine, probe) - force for probe, force in zip(probes, forces, strict=True)]
            found = TableError(_rms(np.concatenate(changes)), _rms(engine.evaluate_atoms(*pairs)[1] - gradient))
            if max(found) <= tolerance * force_rms:
                largest = max(
                    float(np.abs(a - b).max())
                    for a, b in zip(engine.evaluate_atoms(*cluster), exact.evaluate_atoms(*cluster), strict=True)
                )
                measured = {"force_error": found.forces, "pair_error": found.pairs, "force_rms": force_rms}
                return Tables(intervals, 2 * largest), {"relative_tolerance": tolerance} | measured
    return Tables(), {}


def _lone_pairs(potential: Potential, shortest: float) -> Probe:
    """Centers with one neighbor each, at all distances in use of all ordered type pairs."""
    used = potential.parameters_used
    cutoffs = pair_cutoffs(used.config, used.type_names)
    num_types = len(cutoffs)
    share = torch.linspace(0, 1, NUM_DISTANCES, dtype=torch.float64)
    start = torch.clamp(torch.full_like(cutoffs, CLOSEST * shortest), max=0.5 * float(cutoffs.min()))
    lengths = (start.unsqueeze(2) + (cutoffs - start).unsqueeze(2) * share).flatten()
    direction = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
    num_centers = len(lengths)
    centers = torch.arange(num_types).repeat_interleave(num_types * NUM_DISTANCES)
    neighbors = torch.arange(num_types).repeat_interleave(NUM_DISTANCES).repeat(num_types)
    index = torch.stack((torch.arange(num_centers), num_centers + neighbors))
    types = torch.cat((centers, torch.arange(num_types)))
    return Probe(lengths.unsqueeze(1) * direction, index, types)


def _forces(engine: Engine, probe: Probe) -> np.ndarray:
    gradient = torch.from_numpy(engine.evaluate_atoms(*probe)[1])
    return assemble_forces(gradient, probe.edge_index, len(probe.atom_types)).numpy()


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
