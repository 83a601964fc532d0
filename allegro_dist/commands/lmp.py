"""`allegro-dist lmp`: start the installed LAMMPS with pair style allegro loaded; all arguments are lmp's own."""

from __future__ import annotations

import argparse

from allegro_dist.simulate.lammps_runtime import run_lmp


def run(args: argparse.Namespace) -> int:
    run_lmp(args.foreign)
