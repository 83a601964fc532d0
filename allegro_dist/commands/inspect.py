"""`allegro-dist inspect`: print the model card of an archive."""

from __future__ import annotations

import argparse
import json

from allegro_dist.deploy.archive_file import read_model_card


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("archive")


def run(args: argparse.Namespace) -> int:
    print(json.dumps(read_model_card(args.archive), indent=2))
    return 0
