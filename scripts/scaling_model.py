#!/usr/bin/env python3
"""What one rank needs per atom, edge, listed neighbor and ghost, for `allegro-dist plan --machine`.

    python scripts/scaling_model.py [model.pth] [-o machine.yaml] [--cells 6] [--steps 20] [--rounds 2]

Runs an archive (without one: s5 of scripts/benchmark.py, tabulated) in LAMMPS on one rank, on diamond lattices of its
first type, a little displaced, chosen to have few and many neighbors within the cutoff: the line of LAMMPS's "Pair"
time over them is the cost per atom and per edge. "Neigh", "Comm" and the rest are of the densest one, its neighbor
list built at every step. Nothing else may run on the machine. The YAML holds what was measured; nodes and network are
to be filled in.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import yaml
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers
from ase.neighborlist import neighbor_list
from benchmarking.lammps_runs import RunSettings, our_runs
from benchmarking.machine import cpu_name
from scipy.optimize import nnls

from allegro_dist.deploy.archive_file import read_model_card
from allegro_dist.simulate.lammps_runtime import lmp_command, lmp_environment
from allegro_dist.simulate.lammps_timings import timings_in

INPUT = """
units metal
lattice diamond {edge}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
displace_atoms all random {displaced} {displaced} {displaced} 1
mass * {mass}
pair_style allegro
pair_coeff * * {archive} {element}
neighbor {skin} bin
fix nve all nve
run 1
run {steps}
neigh_modify every 1 delay 0 check no
run {steps}
"""
SKIN = 1.0
DISPLACED = 0.01  # x r_max, at most, along each axis: equal distances, all in cache, are no crystal's; counts stay
EDGES_PER_CUTOFF = (1.75, 1.30, 1.09, 0.957)  # lattice constants over r_max: 4, 16, 28, 34 neighbors; halfway between


class Measured(NamedTuple):
    """Seconds per atom and step with the list kept and with a new one at every step, and what was counted."""

    edges: int  # per atom
    listed: float  # per atom
    ghosts: float  # per atom
    kept: dict[str, float]
    rebuilt: dict[str, float]


def measure(archive: Path, element: str, r_max: float, edge: float, args: argparse.Namespace) -> Measured:
    """One lattice; medians of the rounds."""
    text = INPUT.format(edge=edge, cells=args.cells, mass=atomic_masses[atomic_numbers[element]], archive=archive,
                        element=element, skin=SKIN, steps=args.steps, displaced=DISPLACED * r_max)  # fmt: skip
    rounds = [timings_in(_lammps(text))[1:] for _ in range(args.rounds)]
    atoms = 8 * args.cells**3
    kept, rebuilt = ({name: median(run.sections[name] for run in runs) / atoms / args.steps
                      for name in ("Pair", "Neigh", "Comm", "Modify", "Other")} for runs in zip(*rounds))  # fmt: skip
    crystal = bulk(element, "diamond", a=edge, cubic=True)
    edges, listed = (len(neighbor_list("i", crystal, reach)) / 8 for reach in (r_max, r_max + SKIN))
    return Measured(round(edges), listed, rounds[0][-1].ghosts_per_rank / atoms, kept, rebuilt)


def machine(measured: list[Measured]) -> dict[str, float]:
    """The measured settings of allegro_dist.simulate.scaling.Machine."""
    work = np.array([[m.edges, 1.0] for m in measured])
    (per_edge, per_atom), _ = nnls(work, [m.kept["Pair"] for m in measured])  # on a loaded machine neither is below 0
    dense = measured[-1]
    return {
        "seconds_per_atom": dense.kept["Modify"] + dense.kept["Other"],
        "seconds_per_pair_atom": float(per_atom),
        "seconds_per_edge": float(per_edge),
        "seconds_per_listed": dense.rebuilt["Neigh"] / dense.listed,
        "seconds_per_ghost": dense.kept["Comm"] / dense.ghosts,
    }


def _lammps(text: str) -> str:
    environment = lmp_environment(os.environ | {"OMP_NUM_THREADS": "1"})
    command = lmp_command(["-log", "none"])
    run = subprocess.run(command, input=text, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"LAMMPS failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("-o", "--output", type=Path)
    for name, default in {"cells": 6, "steps": 20, "rounds": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive = args.model
        if archive is None:
            our_runs("s5", ["tabulated"], RunSettings(Path(folder), cells=1, steps=1))
            archive = Path(folder, "s5-tabulated.pth")
        card = read_model_card(archive)
        element, r_max = card["type_names"][0], card["pair_cutoffs"][0][0]
        measured = [measure(archive.absolute(), element, r_max, ratio * r_max, args) for ratio in EDGES_PER_CUTOFF]
    for row in measured:
        print(f"{row.edges:3d} edges per atom: {row.kept['Pair'] * 1e6:.2f} us per atom and step")
    values = {name: float(f"{value:.3g}") for name, value in machine(measured).items()}
    text = yaml.safe_dump({"name": f"{cpu_name()}, {args.model or 's5'}"} | values, sort_keys=False)
    print(text, end="")
    if args.output:
        args.output.write_text(text)


if __name__ == "__main__":
    main()
