#!/usr/bin/env python3
"""Drift of the total energy over a long NVE run of silicon in LAMMPS: slope per atom with its standard error.

    python scripts/measure_drift.py [--model examples/silicon/si.pth] [--cells 5] [--steps 100000] [--temperature 300]
                                    [--folder drift-run] [--ranks 1]

A crystal of 8 CELLS^3 atoms is warmed for 5 ps (NVT), then runs at constant energy with 1 fs per step, in parts of
5,000 steps that each end with a restart file.  The same command goes on with an interrupted run and repeats the result
of a complete one.  Total energies of every tenth step go to FOLDER/part-NNN.txt.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from allegro_dist.analysis.fits import energy_drift

PART, EVERY, TIMESTEP = 5000, 10, 0.001  # steps, steps, ps
BEGIN = """
units metal
lattice diamond 5.469
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 28.0855
velocity all create {twice} 4928 mom yes rot no dist gaussian
"""
RUN = """
pair_style allegro
pair_coeff * * {model} Si
timestep {timestep}
thermo {part}
thermo_style custom step temp etotal press
{integrate}
run {part}
write_restart {folder}/unfinished
"""
WARM = "fix warm all nvt temp {temperature} {temperature} 0.1"
CONSTANT_ENERGY = """
fix move all nve
variable now equal step
variable energy equal etotal/atoms
variable kelvin equal temp
fix rows all print {every} "${{now}} ${{energy}} ${{kelvin}}" file {folder}/rows screen no title "# step eV/atom K"
"""


def lammps(text: str, folder: Path, ranks: int) -> None:
    """Run an input; its output is kept in FOLDER/screen.txt.  Raises SystemExit with that output if LAMMPS stops."""
    (folder / "in.drift").write_text(text)
    programs = Path(sys.prefix, "bin")
    command = [programs / "mpiexec", "-n", str(ranks), programs / "allegro-dist", "lmp", "-in", folder / "in.drift"]
    with open(folder / "screen.txt", "w") as screen:
        code = subprocess.run([*command, "-log", "none"], stdout=screen, stderr=subprocess.STDOUT).returncode
    if code:
        raise SystemExit((folder / "screen.txt").read_text()[-2000:])


def run_part(part: int, args: argparse.Namespace) -> None:
    """Part 0 warms the crystal; every other one goes on at constant energy from the restart file of the one before."""
    folder = args.folder
    settings = {
        "cells": args.cells, "twice": 2 * args.temperature, "temperature": args.temperature, "model": args.model,
        "timestep": TIMESTEP, "part": PART, "every": EVERY, "folder": folder,
    }  # fmt: skip
    # Half of the kinetic energy of a crystal at rest goes into its bonds: it starts at twice the temperature.
    begin = BEGIN if part == 0 else f"read_restart {folder}/part-{part - 1:03d}.restart"
    if part == 1:
        begin += "\nreset_timestep 0"
    integrate = WARM if part == 0 else CONSTANT_ENERGY
    lammps((begin + RUN.replace("{integrate}", integrate)).format(**settings), folder, args.ranks)
    if part:
        os.replace(folder / "rows", folder / f"part-{part:03d}.txt")
    os.replace(folder / "unfinished", folder / f"part-{part:03d}.restart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).parents[1] / "examples" / "silicon" / "si.pth")
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100_000, help=f"a multiple of {PART}")
    parser.add_argument("--temperature", type=float, default=300.0, help="K")
    parser.add_argument("--folder", type=Path, default=Path("drift-run"))
    parser.add_argument("--ranks", type=int, default=1)
    args = parser.parse_args()
    if args.steps < PART or args.steps % PART:
        parser.error(f"--steps {args.steps}: expected a multiple of {PART}")
    args.model, args.folder = args.model.resolve(), args.folder.resolve()
    args.folder.mkdir(parents=True, exist_ok=True)
    parts = range(args.steps // PART + 1)
    for part in parts:
        if not (args.folder / f"part-{part:03d}.restart").exists():
            run_part(part, args)
    rows = np.concatenate([np.loadtxt(args.folder / f"part-{part:03d}.txt") for part in parts[1:]])
    drift = energy_drift(rows[:, 0] * TIMESTEP, 1e3 * rows[:, 1])
    atoms, kelvin = 8 * args.cells**3, rows[:, 2].mean()
    print(f"{args.model.name}, {atoms} atoms, {args.steps * TIMESTEP:g} ps of NVE at {kelvin:.0f} K")
    print(f"drift of the total energy: {drift.slope:.2e} +- {drift.standard_error:.1e} meV/atom/ps")
    print(f"fluctuation about that line: {drift.fluctuation:.1e} meV/atom")


if __name__ == "__main__":
    main()
