"""Small training runs for tests: a real model, few frames."""

from __future__ import annotations

from pathlib import Path

from ase.io import write

from allegro_dist.config import RunConfig, from_dict
from tests.data.frames import labelled_atoms

TRAIN_SCRIPT = """
import sys
from allegro_dist.config import load
from allegro_dist.training.run import train
train(load(sys.argv[1]))
"""


def write_frames(path: Path, count: int = 10, seed: int = 0) -> str:
    """A file of labelled frames of different sizes."""
    symbols = ("Si4O3H", "SiO2H4", "Si3O2")
    write(path, [labelled_atoms(seed + n, symbols=symbols[n % 3]) for n in range(count)])
    return str(path)


def small_run(folder: Path, frames: str, training: dict | None = None, **sections) -> RunConfig:
    """Configuration of a run of a few seconds, with all three terms in the loss."""
    return from_dict(
        RunConfig,
        {
            "data": {"train": frames, "val": 0.3, **sections.pop("data", {})},
            "model": {"r_max": 3.5, "l_max": 2, "num_scalar_features": 16, "num_tensor_features": 8,
                      "two_body_mlp_width": 16, "latent_mlp_width": 16, "dtype": "float64",
                      **sections.pop("model", {})},
            "training": {"max_epochs": 4, "batch_size": 3, "checkpoint_every": 1, "threads": 1, "device": "cpu",
                         "loss": {"energy": 1.0, "forces": 1.0, "stress": 10.0}, **(training or {})},
            "run": {"dir": str(folder), **sections.pop("run", {})},
            **sections,
        },
    )  # fmt: skip
