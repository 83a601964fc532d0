#!/usr/bin/env python3
"""Atom-steps per second of `pair_style allegro` in LAMMPS, on the model s5 with random weights.

    python scripts/benchmark_lammps.py [--ranks 1] [--cells 5] [--steps 20] [--rounds 5] [--dtype float32] [--json FILE]

s5: one type, r_max 5, l_max 2, 2 layers, 32 tensor channels, 64-wide scalars and MLPs, 8 Bessel functions; diamond
silicon, 28 neighbors per atom.  LAMMPS's own time of the MD loop is read; the median of the rounds is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from allegro_dist.config import AllegroConfig
from allegro_dist.deploy.archive import save_archive
from allegro_dist.potential import build_potential

INPUT = """
units metal
lattice diamond 5.43
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 28.0855
pair_style allegro
pair_coeff * * s5.pth Si
velocity all create 300 1
fix nve all nve
run {steps}
run {steps}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--cells", type=int, default=5, help="cubic cells of 8 atoms along each edge")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    programs = Path(sys.prefix) / "bin"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        potential = build_potential(
            AllegroConfig(dtype=args.dtype, readout_mlp_width=32),
            type_names=["Si"],
            avg_num_neighbors=28.0,
            per_type_scale=[0.1],
            per_type_shift=[0.0],
        )
        save_archive(folder / "s5.pth", potential)
        (folder / "in.s5").write_text(INPUT.format(cells=args.cells, steps=args.steps))
        atoms = 8 * args.cells**3
        command = [programs / "mpiexec", "-n", str(args.ranks), programs / "allegro-dist", "lmp", "-in", "in.s5"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        rates = []
        for _ in range(args.rounds):
            run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
            loops = re.findall(r"Loop time of (\S+) on", run.stdout)
            rates.append(atoms * args.steps / float(loops[-1]))  # the first loop warms up
    median = statistics.median(rates)
    spread = f"{args.rounds} rounds {min(rates):.0f} .. {max(rates):.0f}"
    print(f"s5, {args.dtype}, {atoms} atoms, {args.ranks} rank(s): {median:.0f} atom-steps/s, ", end="")
    print(f"{median / args.ranks:.0f} per rank ({spread})")
    if args.json:
        args.json.write_text(json.dumps({"atoms": atoms, "ranks": args.ranks, "dtype": args.dtype, "rates": rates}))


if __name__ == "__main__":
    main()
