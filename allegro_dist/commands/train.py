"""`allegro-dist train`: train a potential, or go on with an interrupted run."""

from __future__ import annotations

import argparse
import sys

from allegro_dist.config import load
from allegro_dist.training.run import Interrupted, train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="YAML file")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example training.max_minutes=10")


def run(args: argparse.Namespace) -> int:
    try:
        train(load(args.config, args.overrides))
    except Interrupted as interrupted:
        print(f"allegro-dist: {interrupted}", file=sys.stderr)
        return 128 + interrupted.signal
    return 0
