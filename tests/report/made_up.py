"""Predictions without models, for statistics that are known beforehand."""

from __future__ import annotations

import numpy as np

from allegro_dist.report.predictions import Predictions


def made_up_predictions(
    num_atoms=(2, 3), types=(0, 1, 0, 0, 1), groups=("hot", "cold"), compositions=("OSi", "OSi2"), num_models=1, seed=0
) -> Predictions:
    """Frames of two types with random labels and random errors; every label is there."""
    rng = np.random.default_rng(seed)
    F, A, K = len(num_atoms), sum(num_atoms), num_models
    energy, forces, stress = rng.normal(size=F), rng.normal(size=(A, 3)), rng.normal(size=(F, 3, 3))
    return Predictions(
        type_names=("Si", "O"),
        sources=tuple(f"frame {f}" for f in range(F)),
        groups=tuple(groups),
        compositions=tuple(compositions),
        num_atoms=np.array(num_atoms),
        atom_types=np.array(types),
        shift=np.zeros(F),
        reference_energy=energy,
        reference_forces=forces,
        reference_stress=stress,
        energy=energy + rng.normal(size=(K, F)),
        forces=forces + rng.normal(size=(K, A, 3)),
        stress=stress + rng.normal(size=(K, F, 3, 3)),
        shortest=np.full((2, 2), 1.5),
    )
