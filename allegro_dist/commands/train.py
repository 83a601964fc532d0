"""`allegro-dist train`: train a potential, or go on with an interrupted run; or show all settings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

import yaml

from allegro_dist.config import RunConfig, RunFolderConfig, from_dict, read_values, to_dict
from allegro_dist.deploy import archive
from allegro_dist.documented import documented
from allegro_dist.potential import Potential
from allegro_dist.training.checkpoint import load_run
from allegro_dist.training.run import Interrupted, train

EXAMPLE_FRAMES = "frames.xyz"
"""What --print-config writes for data.train, which has no default."""
OF_THE_DATA = ("type_names", "avg_num_neighbors", "per_type_scale", "per_type_shift")
"""Keys of model that a run does not take over from what it starts from: how it treats the types of its own data."""


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
    inherit_model(values)
    source = path or "command line"
    if args.print_config:
        values.setdefault("data", {}).setdefault("train", EXAMPLE_FRAMES)
        print(documented(from_dict(RunConfig, values, source)), end="")
        return 0
    try:
        train(from_dict(RunConfig, values, source), load_potential)
    except Interrupted as interrupted:
        print(f"allegro-dist: {interrupted}", file=sys.stderr)
        return 128 + interrupted.signal
    return 0


def load_potential(path: str, weights: Literal["best", "last"] = "best") -> Potential:
    """The potential of a run folder or an archive."""
    return load_run(path, weights) if Path(path).is_dir() else archive.load_potential(path)


def inherit_model(values: dict[str, Any]) -> None:
    """Give a run that starts from a model the settings of that model which it does not give itself.

    A run that goes on has them in its folder, and no longer needs what it started from.
    """
    start = values.get("start")
    if not isinstance(start, dict) or not isinstance(start.get("model"), str):
        return
    folder = Path(str((values.get("run") or {}).get("dir", RunFolderConfig().dir)))
    if (folder / "last.ckpt").exists():
        inherited = yaml.safe_load((folder / "config.yaml").read_text())["model"]
    else:
        inherited = to_dict(load_potential(start["model"]).parameters_used.config)
        inherited = {key: value for key, value in inherited.items() if key not in OF_THE_DATA}
    values["model"] = {**inherited, **(values.get("model") or {})}
