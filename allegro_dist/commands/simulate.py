"""`allegro-dist simulate`: run a simulation in LAMMPS from a YAML file, or go on with one; also under mpiexec."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from allegro_dist.config import read_values
from allegro_dist.simulate.driver import Stopped, simulate
from allegro_dist.simulate.script import input_script
from allegro_dist.simulate.settings import read_simulation
from allegro_dist.simulate.start import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example stages.0.temperature=600")
    parser.add_argument("--dry-run", action="store_true", help="print the input script, and stop")


def run(args: argparse.Namespace) -> int:
    config = read_simulation(read_values(args.config, args.overrides), args.config)
    if args.dry_run:
        print(input_script(config, prepare(config, None)), end="")
        return 0
    try:
        folder = simulate(config)
    except Stopped as stopped:
        print(f"allegro-dist: {stopped}", file=sys.stderr)
        return 128 + 15
    print(Path(folder))
    return 0
