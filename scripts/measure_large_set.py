#!/usr/bin/env python
"""How training takes a large set on disk: time to build and to start, memory, and what the loader costs of a step.

    scripts/measure_large_set.py FOLDER [--frames 1000000] [--batch 32] [--minutes 2]

makes FOLDER/set.h5 from molecules of ASE's own, each thousands of times with displaced atoms and random labels (it is
about reading, not about physics), and trains on it in a new process; needs a few kB per frame there, twice for a while.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

MOLECULES = ("CH3CH2OH", "C6H6", "CH3COCH3", "CH3CONH2", "C3H8")  # 9 to 12 atoms


def make_files(folder: Path, num_frames: int) -> list[str]:
    """One npz file of each molecule."""
    from ase.build import molecule

    rng = np.random.default_rng(0)
    files = []
    for name in MOLECULES:
        atoms, count = molecule(name), num_frames // len(MOLECULES)
        shape = (count, len(atoms), 3)
        forces = rng.normal(0, 1, shape)
        forces -= forces.mean(1, keepdims=True)
        positions, energies = atoms.positions + rng.normal(0, 0.05, shape), rng.normal(-10 * len(atoms), 1, count)
        np.savez(
            folder / f"{name}.npz", nuclear_charges=atoms.numbers, coords=positions, energies=energies, forces=forces
        )
        files.append(str(folder / f"{name}.npz"))
    return files


def build(folder: Path, num_frames: int, r_max: float) -> None:
    files = make_files(folder, num_frames)
    command = ["dataset", "build", str(folder / "set.h5"), *files, "--r-max", str(r_max), "--val", "0.001"]
    subprocess.run([sys.executable, "-m", "allegro_dist.cli", *command], check=True)
    for file in files:
        Path(file).unlink()


def memory() -> dict[str, float]:
    """Resident memory of this process, MB: its own, and pages of files."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return {line[0][3:-1].lower(): int(line[1]) / 1024 for line in lines if line[0] in ("RssAnon:", "RssFile:")}


def train(folder: Path, batch: int, minutes: float, r_max: float) -> None:
    """Trains on the set until time is over, and prints."""
    start = time.perf_counter()
    from allegro_dist.config import RunConfig, from_dict
    from allegro_dist.data.dataset import load_frames
    from allegro_dist.data.statistics import compute_statistics
    from allegro_dist.potential import DTYPES, build_potential, pair_cutoffs
    from allegro_dist.training.distributed import start_ranks
    from allegro_dist.training.loop import Trainer

    def say(text: str) -> None:
        m = memory()
        print(f"{time.perf_counter() - start:8.1f} s  own {m['anon']:6.0f} MB  files {m['file']:6.0f} MB  {text}")

    say("imports done")
    config = from_dict(RunConfig, {
        "data": {"train": f"{folder}/set.h5@train", "val": f"{folder}/set.h5@val"}, "model": {"r_max": r_max},
        "training": {"batch_size": batch, "device": "cpu"},
    })  # fmt: skip
    frames = load_frames(config.data, seed=0, forces=True, stress=False)
    names = frames.symbols()
    parts = frames.train, frames.val
    cutoffs, dtype = pair_cutoffs(config.model, names), DTYPES[config.model.dtype]
    graphs, val = (part.graphs(names, cutoffs, dtype) for part in parts)
    statistics = compute_statistics(config.model, names, frames.train, graphs)
    potential = build_potential(config.model, **statistics._asdict())
    trainer = Trainer(potential, graphs, val, config.training, 0, start_ranks("cpu", 1))

    taken = [0.0]

    def timed(function: Callable[..., object]) -> Callable[..., object]:
        def run(indices: list[int]) -> object:
            begin = time.perf_counter()
            result = function(indices)
            taken[0] += time.perf_counter() - begin
            return result

        return run

    for name in ("expect", "batch"):
        setattr(graphs, name, timed(getattr(graphs, name)))
    trainer.potential.train()
    began, reported = time.perf_counter(), 0.0
    for steps, _ in enumerate(trainer.run_epoch(), start=1):
        now = time.perf_counter() - began
        if steps == 1:
            say(f"first step of {trainer.num_batches} done, {len(frames.train)} frames")
            taken[0], began, reported = 0.0, time.perf_counter(), 0.0
        elif now - reported > 10 * minutes:
            reported = now
            say(f"step {steps}: {1e3 * now / (steps - 1):.2f} ms a step, loader {100 * taken[0] / now:.1f} %")
        if now > 60 * minutes:
            break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=2.0, help="of training")
    parser.add_argument("--r-max", type=float, default=5.0)
    parser.add_argument("--only-train", action="store_true", help="the set is there already")
    parser.add_argument("--cold", action="store_true", help="forget what the system has of the set in memory, first")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if not args.only_train:
        build(args.folder, args.frames, args.r_max)
        # a process that has not read anything yet
        subprocess.run([sys.executable, __file__, str(args.folder), "--only-train", "--batch", str(args.batch),
                        "--minutes", str(args.minutes), "--r-max", str(args.r_max)], check=True)  # fmt: skip
        return
    if args.cold:
        with open(args.folder / "set.h5", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    train(args.folder, args.batch, args.minutes, args.r_max)


if __name__ == "__main__":
    main()
