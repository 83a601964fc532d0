"""`allegro-dist properties`: a crystal's properties by a potential, from a YAML file; also under mpiexec."""

from __future__ import annotations

import argparse

from allegro_dist.commands.arguments import add_configuration, file_and_changes
from allegro_dist.config import merged, read_values
from allegro_dist.documented import documented
from allegro_dist.properties.settings import read_properties

EXAMPLE = {
    "structure": "crystal.cif",
    "model": "model.pth",
    "expansion": {"temperatures": [300, 600, 900], "replicate": [4, 4, 4]},
    "melting": {"guess": 1500, "replicate": [4, 4, 12]},
}
"""What --print-config writes for keys that have no default, and for sections that are not done unless asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser, "melting.guess=1400")


def run(args: argparse.Namespace) -> int:
    path, changes = file_and_changes(args)
    values, source = read_values(path, changes), path or "command line"
    if args.print_config:
        print(documented(read_properties(merged(EXAMPLE, values), source)), end="")
        return 0
    config = read_properties(values, source)
    from allegro_dist.properties.study import study  # loads torch and matplotlib

    print(study(config))
    return 0
