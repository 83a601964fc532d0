"""The checkpoints of a run.

last.ckpt holds the complete state, from which a run goes on to the bit; best.ckpt the averaged weights of the best
epoch, with what is needed to build the potential.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any, Literal

import torch

from allegro_dist.config import AllegroConfig, RunConfig, from_dict, to_dict
from allegro_dist.data.statistics import Statistics
from allegro_dist.files import write_atomically, write_json
from allegro_dist.potential import Potential, build_potential
from allegro_dist.training.flat import FlatParameters
from allegro_dist.training.freeze import freeze

FORMAT = 1
RESULTS = "results.json"
MAY_CHANGE = (
    "run.dir", "run.tensorboard", "training.max_epochs", "training.max_minutes", "training.checkpoint_every",
    "training.device", "training.threads", "training.step", "training.accumulate",
)  # fmt: skip
"""Keys that a resumed run may change; the others make it a different run."""


class CheckpointError(RuntimeError):
    """A checkpoint that can't be read, or belongs to another run."""


def save(path: Path, state: dict[str, Any], writer: str = "") -> None:
    """Write a checkpoint, nested plain values and tensors, as files.write_atomically does."""
    buffer = io.BytesIO()  # torch.save straight to a file would hide the reason of a failed write
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, buffer.getvalue(), writer)


def read(path: Path) -> dict[str, Any]:
    """A checkpoint, on the CPU; raises CheckpointError when it isn't one or is of a newer format."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        version = int(state["format"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except Exception as error:
        raise CheckpointError(f"{path}: not a whole checkpoint: {error}") from error
    if version > FORMAT:
        raise CheckpointError(f"{path}: format {version} is newer than this version of allegro_dist reads ({FORMAT})")
    return state


def check_same_run(path: Path, state: dict[str, Any], config: RunConfig, digest: str) -> None:
    """Raise CheckpointError that names the keys in which `config` differs from the checkpoint's, or changed data."""
    # A key that is younger than the run had its default.
    then = _flatten(to_dict(from_dict(RunConfig, state["config"], str(path))))
    now = _flatten(to_dict(config))
    differing = [k for k in dict.fromkeys([*then, *now]) if then.get(k) != now.get(k) and k not in MAY_CHANGE]
    if differing:
        lines = ", ".join(f"{k} (was {then.get(k)}, now {now.get(k)})" for k in differing)
        raise CheckpointError(
            f"{path} belongs to a run with another configuration: {lines}. Take another run.dir, or delete it"
        )
    if state["digest"] != digest:
        raise CheckpointError(f"{path} belongs to a run on other training frames: data.train has changed since")


def build_from(state: dict[str, Any]) -> Potential:
    """The potential that a checkpoint describes, with its weights, frozen as it was, in eval mode."""
    model = from_dict(AllegroConfig, state["config"]["model"], "checkpoint")
    potential = build_potential(model, **statistics_of(state)._asdict())
    potential.load_state_dict(state["weights"])
    freeze(potential, state["config"].get("start", {}).get("freeze", ()))
    return potential.eval()


def statistics_of(state: dict[str, Any]) -> Statistics:
    """The statistics that a checkpoint's potential was built with."""
    return Statistics(**{name: tuple(values) for name, values in state["statistics"].items()})


def load_run(run_dir: str | os.PathLike[str], which: Literal["best", "last"] = "best") -> Potential:
    """The potential of a run, with the averaged weights of its best or last epoch.

    Raises CheckpointError when the folder holds no such checkpoint.
    """
    path = Path(run_dir) / f"{which}.ckpt"
    if not path.exists():
        raise CheckpointError(f"{run_dir}: not the folder of a training run: {path.name} is missing")
    state = read(path)
    potential = build_from(state)
    if which == "last":
        trainable = [p for p in potential.parameters() if p.requires_grad]
        flat = FlatParameters(trainable, num_riders=0)
        for values, average in zip(flat.flats, state["ema"], strict=True):
            values.data.copy_(average)
    return potential


def run_results(run_dir: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run says of itself when it is done (results.json); nothing before."""
    path = Path(run_dir) / RESULTS
    return json.loads(path.read_text()) if path.exists() else {}


def save_run(run_dir: str | os.PathLike[str], potential: Potential, origin: dict[str, Any]) -> None:
    """A run folder for weights that no run of ours has trained: to be deployed, evaluated or trained further.

    Args:
        origin: where they come from, for results.json (plain values).

    Raises CheckpointError when the folder holds a run.
    """
    folder, used = Path(run_dir), potential.parameters_used
    for name in ("last.ckpt", "best.ckpt"):
        if (folder / name).exists():
            raise CheckpointError(f"{folder} holds a run already ({name}): take another folder")
    folder.mkdir(parents=True, exist_ok=True)
    statistics = {name: list(getattr(used, name)) for name in Statistics._fields}
    identity = {"config": {"model": to_dict(used.config)}, "statistics": statistics, "digest": ""}
    save(folder / "best.ckpt", {**identity, "weights": potential.state_dict(), "epoch": 0, "errors": {}})
    write_json(folder / RESULTS, origin)


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
        )
    return flat
