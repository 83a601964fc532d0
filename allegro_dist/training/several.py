"""Several runs of one command: the members of a committee, or the points of a grid, each in a folder of its own.

They are shared out over the processes that were started, each run trained by one process: no run waits for another, and
its result does not depend on how many there are.  Given again, the command goes on with what is not done.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import yaml

from allegro_dist.config import ConfigError, RunConfig, to_dict
from allegro_dist.training import checkpoint
from allegro_dist.training.distributed import alone, gather, start_ranks, stop_ranks
from allegro_dist.training.provenance import describe_files
from allegro_dist.training.recovery import DivergedError
from allegro_dist.training.run import train_on
from allegro_dist.training.start import LoadPotential

PATIENCE = datetime.timedelta(days=365)
"""How long a process waits for others that have more to do."""

NOT_IN_NAMES = re.compile(r"[^\w.+-]+")


class PlannedRun(NamedTuple):
    """One of several runs."""

    name: str  # of its folder, below run.dir
    settings: dict[str, str]  # the keys in which it differs from the others, and its values as they were given
    config: RunConfig


def committee(config: RunConfig, num_members: int) -> list[PlannedRun]:
    """Runs that differ in their seeds: config.seed, config.seed + 1, ...

    Where config.start.model is the folder of a committee, each starts from its own member of that.  Raises ConfigError
    when that committee has too few.
    """
    source = config.start.model
    sources = [] if source is None else [str(folder) for folder in member_folders(Path(source))]
    if sources and len(sources) < num_members:
        raise ConfigError(f"start.model: {source} has {len(sources)} members, but {num_members} are to start from them")
    runs = []
    for number in range(num_members):
        seed = config.seed + number
        start = replace(config.start, model=sources[number]) if sources else config.start
        runs.append(_planned(f"member-{number}", {"seed": str(seed)}, replace(config, seed=seed, start=start)))
    return runs


def member_folders(folder: Path) -> list[Path]:
    """The folders of a committee's members, in their order; none if it is no committee's folder."""
    numbers = {path: path.name.removeprefix("member-") for path in folder.glob("member-*")}
    return sorted((path for path in numbers if numbers[path].isdecimal()), key=lambda path: int(numbers[path]))


def grid(items: Sequence[str], configuration: Callable[[list[str]], RunConfig]) -> list[PlannedRun]:
    """The product of several "key=value,value,..." items.

    Args:
        configuration: that of a point, given its ["key=value", ..].

    Raises ConfigError for a malformed item and for points that are no configuration.
    """
    axes = dict(map(_axis, items))
    if len(axes) < len(items):
        raise ConfigError(f"--sweep {' '.join(items)}: a key is given twice")
    if "run.dir" in axes:
        raise ConfigError("--sweep: run.dir is the folder of all runs, each of which gets its own in it")
    last = {key: key.rpartition(".")[2] for key in axes}
    titles = last if len(set(last.values())) == len(last) else {key: key for key in axes}
    points = []
    for values in itertools.product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        name = "_".join(f"{titles[key]}={NOT_IN_NAMES.sub('-', value)}" for key, value in settings.items())
        points.append(_planned(name, settings, configuration([f"{k}={v}" for k, v in settings.items()])))
    if len({point.name for point in points}) < len(points):
        raise ConfigError(f"--sweep {' '.join(items)}: a value is given twice")
    return points


def train_all(runs: Sequence[PlannedRun], load_potential: LoadPotential) -> dict[str, str] | None:
    """Train all runs; returns what was wrong with those that diverged, by name.  Raises as `train` otherwise.

    On processes but the first it returns None: what is left to do, one does.
    """
    first = runs[0].config.training
    ranks = start_ranks(first.device, first.threads, PATIENCE)
    failed = {}
    try:
        for number, planned in enumerate(runs):
            if number % ranks.size != ranks.rank:
                continue
            done = is_done(planned.config)
            if ranks.is_main:
                print(f"run {number + 1} of {len(runs)}: {planned.name}{' is done' if done else ''}", flush=True)
            if done:
                continue
            try:
                train_on(alone(ranks), planned.config, load_potential, shown=ranks.is_main)
            except DivergedError as error:
                failed[planned.name] = str(error)
        everywhere = gather(ranks, failed)
        return {name: text for part in everywhere for name, text in part.items()} if ranks.is_main else None
    finally:
        stop_ranks()


def is_done(config: RunConfig) -> bool:
    """Whether the folder holds this very run, of the same files, at its end."""
    folder = Path(config.run.dir)
    files = [folder / name for name in ("last.ckpt", "results.json", "provenance.json")]
    if not all(file.exists() for file in files):
        return False
    state, results, origin = checkpoint.read(files[0]), *(json.loads(file.read_text()) for file in files[1:])
    # results.json may be that of a shorter run, which this one has gone on with
    ended = state["config"] == to_dict(config) and state["num_steps"] == results["steps"]
    return bool(ended and origin["data"]["files"] == describe_files(config))


def _planned(name: str, settings: dict[str, str], config: RunConfig) -> PlannedRun:
    folder = replace(config.run, dir=str(Path(config.run.dir) / name))
    return PlannedRun(name, settings, replace(config, run=folder))


def _axis(item: str) -> tuple[str, list[str]]:
    """A key and its values: commas inside brackets belong to a value."""
    key, equals, text = item.partition("=")
    flow = f"[{text}]"
    try:
        sequence = yaml.compose(flow)
        values = [flow[n.start_mark.index : n.end_mark.index] for n in (sequence.value if sequence else ())]
    except yaml.YAMLError:
        values = []
    if not key or not equals or not values:
        raise ConfigError(f"--sweep '{item}': expected key=value,value,..., for example model.l_max=1,2,3")
    return key, values
