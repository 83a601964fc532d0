"""`allegro-dist train`: train a potential, or go on with an interrupted run; or show all settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from allegro_dist.commands.arguments import add_configuration, file_and_changes
from allegro_dist.config import RunConfig, RunFolderConfig, from_dict, read_values, to_dict
from allegro_dist.deploy import archive
from allegro_dist.documented import documented
from allegro_dist.potential import Potential
from allegro_dist.training.checkpoint import load_run, read
from allegro_dist.training.outcomes import write_sweep
from allegro_dist.training.recovery import DivergedError
from allegro_dist.training.run import train
from allegro_dist.training.several import PlannedRun, committee, grid, member_folders, train_all

EXAMPLE_FRAMES = "frames.xyz"
"""What --print-config writes for data.train, which has no default."""
OF_THE_DATA = ("type_names", "avg_num_neighbors", "per_type_scale", "per_type_shift")
"""Keys of model that a run does not take over from what it starts from: how it treats the types of its own data."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_configuration(parser, "training.max_minutes=10")
    several = parser.add_mutually_exclusive_group()
    several.add_argument(
        "--members", type=_count, metavar="N", help="train a committee: N runs that differ in their seeds"
    )
    several.add_argument(
        "--sweep", nargs="+", metavar="key=value,..", help="train a run for each combination: model.l_max=1,2 seed=0,1"
    )


def run(args: argparse.Namespace) -> int:
    path, overrides = file_and_changes(args)

    def configuration(point: Sequence[str] = (), **defaults: Any) -> RunConfig:
        values = read_values(path, [*overrides, *point])
        for section, default in defaults.items():
            give_defaults(values, section, default)
        inherit_model(values)
        config: RunConfig = from_dict(RunConfig, values, path or "command line")
        return config

    if args.print_config:
        print(documented(configuration(data={"train": EXAMPLE_FRAMES})), end="")
    elif args.members:
        train_committee(committee(configuration(), args.members))
    elif args.sweep:
        train_grid(grid(args.sweep, configuration))
    else:
        train(configuration(), load_potential)
    return 0


def train_committee(runs: Sequence[PlannedRun]) -> None:
    """Train the members of a committee and show what they are together; raises the error of one that diverged."""
    from allegro_dist.report.members import write_committee  # scipy's statistics take a second to import

    failed = train_all(runs, load_potential)
    for name, reason in (failed or {}).items():
        raise DivergedError(f"{name}: {reason}")
    if failed is not None:
        for table in write_committee(runs):
            table.show()
        print(f"for LAMMPS: allegro-dist deploy {Path(runs[0].config.run.dir).parent}")


def train_grid(runs: Sequence[PlannedRun]) -> None:
    """Train the points of a sweep and show what came of them."""
    failed = train_all(runs, load_potential)
    if failed is not None:
        write_sweep(runs, failed).show()


def _count(text: str) -> int:
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError(f"expected 2 members or more, got {number}")
    return number


def load_potential(path: str, weights: Literal["best", "last"] = "best") -> Potential:
    """The potential of a run folder or an archive."""
    return load_run(path, weights) if Path(path).is_dir() else archive.load_potential(path)


def inherit_model(values: dict[str, Any]) -> None:
    """Give a run that starts from a model the settings of that model which it does not give itself.

    A run that goes on has them in its checkpoint, and no longer needs what it started from.
    """
    start, run_folder = values.get("start"), values.get("run")
    if not isinstance(start, dict) or not isinstance(start.get("model"), str):
        return
    given = run_folder if isinstance(run_folder, dict) else {}
    last = Path(str(given.get("dir", RunFolderConfig().dir)), "last.ckpt")
    if last.exists():
        inherited = read(last)["config"]["model"]
    else:
        source = next(iter(member_folders(Path(start["model"]))), start["model"])  # members are of one model
        inherited = to_dict(load_potential(str(source)).parameters_used.config)
        inherited = {key: value for key, value in inherited.items() if key not in OF_THE_DATA}
    give_defaults(values, "model", inherited)


def give_defaults(values: dict[str, Any], section: str, defaults: dict[str, Any]) -> None:
    """Fill up a section; one that is no mapping is left for the checks of the configuration."""
    given = values.get(section) or {}
    if isinstance(given, dict):
        values[section] = {**defaults, **given}
