#!/usr/bin/env python3
"""How `pair_style allegro` grows with atoms and ranks: memory, strong and weak efficiency, equal energies.

    python scripts/lammps_scaling.py [--parts memory,efficiency,energy] [--evaluator tabulated|exact|torchscript]
                                     [--model s5] [--atoms 8000,64000,512000] [--ranks 2] [--steps 1] [--strong 32768]
                                     [--weak 16384] [--timed-steps 20] [--rounds 3] [--energy-atoms 512]
                                     [--json FILE] [--smoke]

memory      peak resident memory of the largest of --ranks ranks, ours and pair_style zero's, --steps of NVE in a cube
            of --atoms silicon atoms; what all ranks take more than in the row above, per atom more
efficiency  --strong atoms, and --weak atoms per rank, on 1 and 2 ranks; rounds alternate, medians are reported; shares
            of LAMMPS's own timing breakdown. The neighbor list is built every ten steps.
energy      the total energy of --energy-atoms after ten steps on 1, 2, 4 and 8 ranks, which may be more than the
            machine has cores: it must be the same to 1e-10 in float64, and 1e-6 in float32. Otherwise the script fails.

Models are those of scripts/benchmark.py, their weights random; energies are of s5. Numbers of atoms are rounded to
whole cells of eight.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import torch
from benchmarking.lammps_runs import LammpsRun, RunSettings, our_runs
from benchmarking.machine import cpu_name
from benchmarking.models import MODELS
from benchmarking.scaling import Row, efficiency_rows, energy_rows, memory_rows

PARTS = ("memory", "efficiency", "energy")
ENERGY_MODELS = {"float64": "s5-float64", "float32": "s5"}


def table(rows: list[Row]) -> str:
    """Markdown."""
    shown = [["" if v is None else f"{v:,.6g}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ([*rows[0]], ["---"] * len(rows[0]), *shown))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--evaluator", default="tabulated", choices=("tabulated", "exact", "torchscript"))
    parser.add_argument("--model", default="s5", choices=MODELS)
    parser.add_argument("--atoms", default="8000,64000,512000")
    numbers = {"ranks": 2, "steps": 1, "strong": 32768, "weak": 16384, "timed-steps": 20, "rounds": 3}
    for name, default in (numbers | {"energy-atoms": 512}).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true", help="everything, but short")
    args = parser.parse_args()
    args.parts, args.atoms = args.parts.split(","), [int(number) for number in args.atoms.split(",")]
    if unknown := [part for part in args.parts if part not in PARTS]:
        parser.error(f"--parts {', '.join(unknown)}: expected some of {', '.join(PARTS)}")
    if args.smoke:
        args.atoms, args.strong, args.weak, args.energy_atoms = [64, 512], 512, 256, 64
        args.timed_steps, args.rounds = 2, 1
    return args


def measure(args: argparse.Namespace, folder: Path) -> dict[str, list[Row]]:
    """Rows of each part that was asked for."""
    settings = RunSettings(folder, cells=1, steps=1)

    def run(model: str) -> LammpsRun:
        return our_runs(model, [args.evaluator], settings)[0]

    parts: dict[str, list[Row]] = {}
    if "memory" in args.parts:
        parts["memory"] = memory_rows(run(args.model), args.atoms, args.ranks, args.steps)
    if "efficiency" in args.parts:
        parts["efficiency"] = efficiency_rows(run(args.model), args.strong, args.weak, args.timed_steps, args.rounds)
    if "energy" in args.parts:
        parts["energy"] = energy_rows({dtype: run(model) for dtype, model in ENERGY_MODELS.items()}, args.energy_atoms)
    return parts


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        parts = measure(args, Path(folder))
    print(f"{cpu_name()}; {args.model}, {args.evaluator}")
    for part, rows in parts.items():
        print(f"\n{part}\n\n{table(rows)}")
    if args.json:
        result = {"cpu": cpu_name(), "model": args.model, "evaluator": args.evaluator} | parts
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if differing := [row for row in parts.get("energy", ()) if row["relative_deviation"] > row["allowed"]]:
        raise SystemExit(f"total energies depend on the number of ranks:\n{table(differing)}")


if __name__ == "__main__":
    main()
