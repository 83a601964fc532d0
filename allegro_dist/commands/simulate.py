"""`allegro-dist simulate`: run a simulation in LAMMPS from a YAML file, or go on with one; also under mpiexec."""

from __future__ import annotations

import argparse

from allegro_dist.commands.arguments import add_configuration, file_and_changes
from allegro_dist.config import merged, read_values
from allegro_dist.documented import documented
from allegro_dist.simulate.driver import simulate
from allegro_dist.simulate.script import input_script
from allegro_dist.simulate.settings import read_simulation
from allegro_dist.simulate.start import prepare

EXAMPLE = {
    "structure": {"file": "structure.xyz"},
    "model": "model.pth",
    "stages": [
        {"stage": "minimize"},
        {"stage": "nve", "steps": 1000},
        {"stage": "nvt", "steps": 1000, "temperature": 300},
        {"stage": "npt", "steps": 1000, "temperature": 300},
        {"stage": "nph", "steps": 1000},
        {"stage": "langevin", "steps": 1000, "temperature": 300},
        {"stage": "deform", "steps": 1000, "scale": {"x": 1.1}},
    ],
}
"""What --print-config writes for keys that have no default: one stage of each kind."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser, "stages.0.temperature=600")
    parser.add_argument("--dry-run", action="store_true", help="print the input script, and stop")


def run(args: argparse.Namespace) -> int:
    path, changes = file_and_changes(args)
    values = read_values(path, changes)
    if args.print_config:
        print(documented(read_simulation(merged(EXAMPLE, values), path or "command line")), end="")
        return 0
    config = read_simulation(values, path or "command line")
    if args.dry_run:
        print(input_script(config, prepare(config, None)), end="")
        return 0
    print(simulate(config))
    return 0
