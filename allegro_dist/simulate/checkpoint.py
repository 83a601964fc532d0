"""Where a simulation stands: checkpoint.json, which appears when everything that it names is on disk."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from allegro_dist.files import sync, write_json
from allegro_dist.simulate.outputs import Written

FILE = "checkpoint.json"


class SimulationError(RuntimeError):
    """A simulation that can't go on; the message says at which step, why, and what was saved."""


@dataclass(frozen=True)
class Checkpoint:
    """After a part of a stage; `stage` is the one to go on with, at `step`."""

    config: dict[str, Any]
    stage: int = 0
    first: int | None = None  # step at which that stage began; None: it has not begun
    step: int = 0
    ends: tuple[int, ...] = ()  # last steps of the stages that are done
    restart: str = ""  # LAMMPS's file; none before the first part
    grid: tuple[int, ...] = ()  # ranks along x, y and z
    written: dict[str, Written] = field(default_factory=dict)  # by names of files
    seconds: float = 0.0  # of all runs
    finished: bool = False


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of a folder; None if it has none.  Raises SimulationError for what another version wrote."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        _refuse_other_version(values.keys())
        written = {name: Written(*position) for name, position in values["written"].items()}
        return Checkpoint(
            **{**values, "written": written, "ends": tuple(values["ends"]), "grid": tuple(values["grid"])}
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SimulationError(
            f"{path}: expected a checkpoint of this version of allegro-dist, got another ({error}). Go on with the "
            "version that wrote it, or start anew in another dir"
        ) from error


def _refuse_other_version(found: Collection[str]) -> None:
    """Raise ValueError that names the keys which a checkpoint lacks, or should not have."""
    expected = {f.name for f in fields(Checkpoint)}
    differing = {"without": expected.difference(found), "with unknown": set(found).difference(expected)}
    if any(differing.values()):
        raise ValueError("; ".join(f"{how} {', '.join(sorted(keys))}" for how, keys in differing.items() if keys))


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint, and remove the LAMMPS files of earlier ones."""
    if checkpoint.restart:
        sync(folder / checkpoint.restart)
    write_json(folder / FILE, asdict(checkpoint))
    for old in folder.glob("checkpoint.*.restart"):
        if old.name != checkpoint.restart:
            old.unlink()
