#!/usr/bin/env python3
"""Contestant DeePMD-kit: an se_e2_a model of its recommended size, frozen and compressed by its own tools.

    PYTHON scripts/peers/prepare_deepmd.py FOLDER

Writes FOLDER/frozen.pb and FOLDER/compressed.pb, for pair_style deepmd in the LAMMPS of the same environment.  The
model is trained for one step on made-up energies, which is what the tools ask for; r_max 6 Angstrom.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from contestant import silicon

DESCRIPTOR = {  # as in the package's example se_e2_a
    "type": "se_e2_a", "rcut": 6.0, "rcut_smth": 0.5, "sel": "auto", "neuron": [25, 50, 100], "axis_neuron": 16,
    "resnet_dt": False, "seed": 1, "precision": "float32",
}  # fmt: skip
FITTING = {"neuron": [240, 240, 240], "resnet_dt": True, "seed": 1, "precision": "float32"}


def write_frames(folder: Path) -> None:
    """A system in DeePMD's format: ten displaced crystals, energies and forces drawn at random."""
    data, random = folder / "set.000", np.random.default_rng(0)
    data.mkdir(parents=True, exist_ok=True)
    atoms = [silicon(2) for _ in range(10)]
    for frame in atoms:
        frame.positions += random.normal(0, 0.05, frame.positions.shape)
    count = len(atoms[0])
    (folder / "type.raw").write_text("0\n" * count)
    (folder / "type_map.raw").write_text("Si\n")
    np.save(data / "coord.npy", np.stack([frame.positions.ravel() for frame in atoms]))
    np.save(data / "box.npy", np.stack([frame.cell.array.ravel() for frame in atoms]))
    np.save(data / "energy.npy", random.normal(0, 1, len(atoms)))
    np.save(data / "force.npy", random.normal(0, 1, (len(atoms), 3 * count)))


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    write_frames(folder / "frames")
    (folder / "input.json").write_text(
        json.dumps(
            {
                "model": {"type_map": ["Si"], "descriptor": DESCRIPTOR, "fitting_net": FITTING},
                "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-8, "decay_steps": 5000},
                "loss": {"type": "ener"},
                "training": {"training_data": {"systems": ["frames"], "batch_size": 1}, "numb_steps": 1, "seed": 1},
            }
        )
    )
    dp = str(Path(sys.executable).with_name("dp"))
    for command in (
        ["train", "input.json"], ["freeze", "-o", "frozen.pb"], ["compress", "-i", "frozen.pb", "-o", "compressed.pb"]
    ):  # fmt: skip
        subprocess.run([dp, *command], cwd=folder, check=True)


if __name__ == "__main__":
    main()
