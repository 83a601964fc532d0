"""`allegro-dist lmp`: start the installed LAMMPS with pair style allegro loaded."""

from __future__ import annotations

import argparse

from allegro_dist.simulate.lammps_runtime import run_lmp


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: all arguments are lmp's, and cli.py hands them on as `foreign`."""


def run(args: argparse.Namespace) -> int:
    run_lmp(args.foreign)
