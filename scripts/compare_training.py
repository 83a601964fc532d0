#!/usr/bin/env python3
"""Accuracy in the same wall time: a recipe of ours beside nequip-allegro, same frames, model and schedule.

    python scripts/compare_training.py --train FRAMES --test FRAMES [--frames 500] [--minutes 10] [--folder DIR]
                                       [--recipe examples/molecule.yaml] [key=value ...]

Draws the training frames, a tenth of which validates, and trains both on them at the same time, one core each: ours
from the command line, the peer's model of the same sizes by its own nequip-train in its compiled mode (in the
environment of its own that the benchmark makes, too).  The peer compiles first; then both clocks start.  Both follow
the same rate over their minutes, clip the same, average the same, and keep the weights of their best validation.

Ends with the errors on the test frames, each as its own program measures them, in DIR/comparison.json as well.  The
CPU's minutes tell whether both had a core: they should be those of the clock.  What is done is not done again; the
peer's training starts anew when interrupted.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ase.io import read, write
from benchmarking.peer_recipe import BEST, peer_recipe
from benchmarking.peer_training import train_command
from benchmarking.peers import ONE_THREAD, PROGRAMS, TUNED_MALLOC

from allegro_dist import config as configuration
from allegro_dist.config import RunConfig
from allegro_dist.files import write_json
from allegro_dist.tables import Table

ROOT = Path(__file__).resolve().parents[1]


def write_frames(args: argparse.Namespace) -> dict[str, Path]:
    """The frames of both, as files by train, val and test."""
    files = {part: args.folder / f"{part}.xyz" for part in ("train", "val", "test")}
    frames = read(args.train, ":")
    chosen = random.Random(args.seed).sample(frames, min(args.frames, len(frames)))
    num_val = len(chosen) // 10
    for part, some in (("train", chosen[num_val:]), ("val", chosen[:num_val]), ("test", read(args.test, ":"))):
        write(files[part], some)
    return files


def our_config(args: argparse.Namespace, files: Mapping[str, Path]) -> RunConfig:
    changes = [f"data.{part}={path}" for part, path in files.items()]
    changes += [f"training.max_minutes={args.minutes}", f"run.dir={args.folder / 'ours'}", f"seed={args.seed}"]
    return configuration.load(args.recipe, [*changes, *args.changes])


def start_peer(config: RunConfig, files: Mapping[str, Path], folder: Path) -> subprocess.Popen[bytes]:
    """Its training, which has compiled by the time that this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / "started", folder / "clock.json", folder / f"{BEST}.ckpt"):
        old.unlink(missing_ok=True)
    types = sorted({symbol for path in files.values() for symbol in read(path).get_chemical_symbols()})
    recipe = peer_recipe(config, types, {part: path.resolve() for part, path in files.items()}, folder.resolve())
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    environment = os.environ | ONE_THREAD | TUNED_MALLOC | {"PYTHONPATH": str(PROGRAMS)}
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(train_command(folder.resolve()), cwd=folder, env=environment, stdout=log, stderr=log)
    while not (folder / "started").exists():
        if process.poll() is not None:
            raise SystemExit(f"nequip-train stopped: {folder / 'log.txt'}\n{(folder / 'log.txt').read_text()[-2000:]}")
        time.sleep(0.2)
    return process


def train_ours(config: RunConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    configuration.dump(config, folder.with_suffix(".yaml"))
    command = [sys.executable, "-m", "allegro_dist.cli", "train", str(folder.with_suffix(".yaml"))]
    process = subprocess.Popen(command, env=os.environ | ONE_THREAD | TUNED_MALLOC)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit("our training failed")
    write_json(folder.with_suffix(".cpu.json"), {"cpu_minutes": (used.ru_utime + used.ru_stime) / 60})


def our_row(folder: Path) -> dict[str, Any]:
    results = json.loads((folder / "results.json").read_text())
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    cpu = json.loads(folder.with_suffix(".cpu.json").read_text())
    forces, energy = results["test"]["forces"], results["test"]["energy"]
    return {
        "steps": last["step"], "minutes": last["minutes"], **cpu,
        "force_rmse": 1e3 * forces["rmse"], "force_mae": 1e3 * forces["mae"], "energy_mae": 1e3 * energy["mae"],
    }  # fmt: skip


def peer_row(folder: Path) -> dict[str, Any]:
    with open(folder / "metrics.csv", newline="") as file:
        (last,) = [row for row in csv.DictReader(file) if row.get("test0_epoch/forces_rmse")]
    clock = json.loads((folder / "clock.json").read_text())
    names = {"force_rmse": "forces_rmse", "force_mae": "forces_mae", "energy_mae": "total_energy_mae"}
    return clock | {name: 1e3 * float(last[f"test0_epoch/{theirs}"]) for name, theirs in names.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, help="file that ASE reads, to draw frames from")
    parser.add_argument("--test", required=True, help="file of frames to measure both on")
    parser.add_argument("--frames", type=int, default=500, help="training frames, validation included")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=Path("training-comparison"))
    parser.add_argument("--recipe", default=str(ROOT / "examples" / "molecule.yaml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("changes", nargs="*", help="key=value: changes of the recipe, for both")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    ours, peer = args.folder / "ours", args.folder / "nequip-allegro"
    files = write_frames(args)
    config = our_config(args, files)
    process = None if (peer / "clock.json").exists() else start_peer(config, files, peer)
    train_ours(config, ours)
    if process is not None and process.wait():
        raise SystemExit(f"nequip-train failed: {peer / 'log.txt'}")
    rows = {"allegro_dist": our_row(ours), "nequip-allegro, compiled": peer_row(peer)}
    columns = ["", "steps", "minutes", "CPU minutes", "force RMSE, meV/A", "force MAE", "energy MAE, meV"]
    cells = [[name, *(f"{value:.4g}" for value in row.values())] for name, row in rows.items()]
    Table(f"{args.frames} frames, {args.minutes:g} minutes", columns, cells).show()
    ratio = rows["allegro_dist"]["force_rmse"] / rows["nequip-allegro, compiled"]["force_rmse"]
    print(f"force RMSE of ours / of the peer: {ratio:.2f}")
    arguments = {name: str(value) for name, value in vars(args).items()}
    write_json(args.folder / "comparison.json", {"arguments": arguments, "rows": rows, "ratio": ratio})


if __name__ == "__main__":
    main()
