"""Small learning loops for tests: copper by effective medium theory, tiny models, a few steps of dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from allegro_dist.config import merged

ROOT = Path(__file__).resolve().parents[2]
TINY = {"r_max": 3.5, "l_max": 1, "num_layers": 1, "num_scalar_features": 4, "num_tensor_features": 2,
        "two_body_mlp_width": 4, "latent_mlp_width": 4, "readout_mlp_width": 4}  # fmt: skip


def copper(seed: int, rattle: float = 0.1) -> Atoms:
    """Eight displaced atoms."""
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((2, 1, 1))
    atoms.positions += np.random.default_rng(seed).normal(0, rattle, atoms.positions.shape)
    return atoms


def labelled_copper(seed: int) -> Atoms:
    atoms = copper(seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return atoms


def write_settings(folder: Path, *, labelled: bool = True, **changes: Any) -> Path:
    """learn.yaml of a loop in folder/loop that finds something in every round, and its frames beside it."""
    folder.mkdir(exist_ok=True, parents=True)
    make = labelled_copper if labelled else copper
    write(folder / "start.xyz", [make(seed) for seed in range(4)])
    write(folder / "test.xyz", [labelled_copper(seed) for seed in range(10, 13)])
    write(folder / "crystal.xyz", bulk("Cu", "fcc", a=3.6, cubic=True))
    values = {
        "data": {"start": str(folder / "start.xyz"), "test": str(folder / "test.xyz"), "val": 0.3},
        "dir": str(folder / "loop"),
        "members": 2,
        "max_rounds": 1,
        "simulations": [
            {
                "structure": {"file": str(folder / "crystal.xyz"), "replicate": [2, 2, 2], "temperature": 300},
                "trajectory": {"every": 5},
                "stages": [{"stage": "nvt", "temperature": 300, "steps": 40}],
            }
        ],
        "harvest": {"threshold": 1e-9, "ceiling": 1e6, "per_round": 2, "apart": 10},
        "label": {"calculator": "emt", "processes": 2},
        "model": TINY,
        "training": {"max_epochs": 2, "batch_size": 2},
        "retraining": {"max_epochs": 1},
    }
    (folder / "learn.yaml").write_text(yaml.safe_dump(merged(values, changes)))
    return folder / "learn.yaml"
