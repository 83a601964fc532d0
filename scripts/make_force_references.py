#!/usr/bin/env python3
"""Writes the cases of tests/lammps/force_styles from the Python model in float64; LAMMPS has no part in it.

    python -m scripts.make_force_references

To be run again only when a case is meant to change, or the weights that a seed gives.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.build import bulk

from allegro_dist.config import AllegroConfig
from tests.lammps.force_case import ForceCase, integrate, write_case
from tests.lammps.lammps_run import in_lammps_frame

TYPE_NAMES = ("Si", "O")
SMALL = AllegroConfig(
    type_names=TYPE_NAMES,
    r_max=4.5,
    num_scalar_features=16,
    num_tensor_features=8,
    two_body_mlp_width=16,
    latent_mlp_width=16,
    readout_mlp_width=8,
    avg_num_neighbors={"Si": 15.0, "O": 14.0},
    per_type_scale={"Si": 1.3, "O": 0.8},
    per_type_shift={"Si": -5.0, "O": -3.0},
    dtype="float64",
)
MODELS = {  # configuration, seeds
    "allegro": (SMALL, (11,)),
    "allegro-zbl-cutoffs": (
        replace(SMALL, zbl=True, l_max=1, radial_basis="spline", pair_cutoffs={"O-Si": 3.5, "Si-O": 4.0, "O-O": 3.0}),
        (12,),
    ),
    "allegro-committee": (replace(SMALL, num_layers=1, parity=False), (13, 14, 15)),
}


def disordered_crystal(seed: int) -> Atoms:
    """32 atoms of two types in a triclinic cell; the first two come close enough for the core repulsion to matter."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", "diamond", a=5.6, cubic=True)
    atoms.set_chemical_symbols(["Si", "O", "O", "Si", "O", "Si", "O", "O"])
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.03, 0], [0.08, 1, 0.02], [-0.05, 0.06, 1]]), scale_atoms=True)
    atoms = atoms.repeat((2, 2, 1))
    atoms.positions += rng.normal(0, 0.15, (len(atoms), 3))
    atoms.set_distance(0, 1, 1.5, fix=0, mic=True)
    return in_lammps_frame(atoms)


def main() -> None:
    for name, (model, seeds) in MODELS.items():
        atoms = disordered_crystal(seeds[0])
        velocities = np.random.default_rng(seeds[0]).normal(0, 6.0, atoms.positions.shape)  # Angstrom/ps
        case = ForceCase(name, model, seeds, atoms, velocities, timestep=0.001, steps=4)
        write_case(case, *integrate(case))


if __name__ == "__main__":
    main()
