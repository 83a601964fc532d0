"""`allegro-dist train`: train a potential, or go on with an interrupted run; or show all settings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from allegro_dist.config import RunConfig, from_dict, read_values
from allegro_dist.documented import documented
from allegro_dist.training.run import Interrupted, train

EXAMPLE_FRAMES = "frames.xyz"
"""What --print-config writes for data.train, which has no default."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", help="YAML file; may be left out where key=value give all that is needed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example training.max_minutes=10")
    parser.add_argument(
        "--print-config", action="store_true", help="print the complete configuration with its documentation, and stop"
    )


def run(args: argparse.Namespace) -> int:
    path, overrides = args.config, args.overrides
    if path and "=" in path and not Path(path).exists():
        path, overrides = None, [path, *overrides]
    values = read_values(path, overrides)
    source = path or "command line"
    if args.print_config:
        values.setdefault("data", {}).setdefault("train", EXAMPLE_FRAMES)
        print(documented(from_dict(RunConfig, values, source)), end="")
        return 0
    try:
        train(from_dict(RunConfig, values, source))
    except Interrupted as interrupted:
        print(f"allegro-dist: {interrupted}", file=sys.stderr)
        return 128 + interrupted.signal
    return 0
