#!/usr/bin/env python3
"""Atom-steps per second of `pair_style allegro` in LAMMPS: models x evaluators, alternating, beside SGEMM.

    python scripts/benchmark.py [--models s5,big,three] [--evaluators torchscript,exact,tabulated] [--cells 5]
                                [--ranks 1] [--threads 1] [--rounds 5] [--steps 20] [--peer-python PYTHON]
                                [--json FILE] [--smoke]

s5     one type, r_max 5, l_max 2, 2 layers, 32 tensor channels, 64-wide scalars and MLPs; diamond silicon, 28 neighbors
big    l_max 3, 64 tensor channels, 128-wide
three  s5 with three types and r_max 6 (46 neighbors)

Weights are random.  A round runs every evaluator once and one SGEMM of 2048^3 in this process; medians are reported.
`fraction_of_sgemm` counts the dense products alone (forward and backward, per edge and per atom), so it is what the
whole step achieves against a machine that did nothing but those products.

PYTHON is the interpreter of an environment of its own with `pip install nequip-allegro`: its model of the same settings
then takes part, eager and by AOTInductor, with malloc as it is and tuned by hand, without its neighbor lists, at a size
that suits it (216 atoms).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from allegro_dist.config import AllegroConfig
from allegro_dist.deploy.archive import save_archive
from allegro_dist.deploy.fused import Tables, fused_program
from allegro_dist.deploy.tables import choose_tables
from allegro_dist.potential import Potential, build_potential

WIDE = {"num_scalar_features": 128, "two_body_mlp_width": 128, "latent_mlp_width": 128, "readout_mlp_width": 64}
MODELS: dict[str, tuple[dict[str, Any], tuple[str, ...], int]] = {  # options, types, neighbors in diamond silicon
    "s5": ({}, ("Si",), 28),
    "big": ({"l_max": 3, "num_tensor_features": 64} | WIDE, ("Si",), 28),
    "three": ({"r_max": 6.0}, ("Si", "Ge", "C"), 46),
}
PEER_CELLS = 3
INPUT = """
units metal
lattice diamond 5.43
region box block 0 {cells} 0 {cells} 0 {cells}
create_box {num_types} box
create_atoms 1 box
{types}
mass * 28.0855
pair_style allegro evaluator {evaluator}
pair_coeff * * {archive} {names}
velocity all create 300 1
fix nve all nve
run {steps}
run {steps}
"""


def make_potential(name: str) -> Potential:
    options, types, neighbors = MODELS[name]
    torch.manual_seed(0)
    return build_potential(
        AllegroConfig(**options),
        type_names=types,
        avg_num_neighbors=float(neighbors),
        per_type_scale=[0.1] * len(types),
        per_type_shift=[0.0] * len(types),
    )


def dense_flops(potential: Potential, neighbors: int, tabulated: bool) -> float:
    """Floating point operations of all dense products for one atom, forward and backward (2 x 2 per weight)."""
    program = fused_program(potential)
    l_max, num_two_body = int(program["sizes"][0]), int(program["sizes"][4])
    per_edge = 0 if tabulated else program["projection"].numel() + program["radial.weights"][0].numel()
    for k, (_, kind, index) in enumerate(program["dense.sources"].tolist()):
        if not (tabulated and kind == 0 and index < num_two_body):
            per_edge += program[f"dense.source.{k}"].numel()
    per_atom = 0.0
    for t, source in enumerate(program["environment.sources"].tolist()):
        if not (tabulated and source < num_two_body):
            per_atom += program[f"environment.{t}"].numel() * (l_max + 1)  # sum over l of (2 l + 1), of equal blocks
    return 4.0 * (per_edge * neighbors + per_atom)


def sgemm_rate(size: int = 2048) -> float:
    """FLOP/s of a matrix product on one thread, now."""
    a = torch.randn(size, size)
    start = time.perf_counter()
    a @ a
    return 2.0 * size**3 / (time.perf_counter() - start)


def lammps_rate(folder: Path, text: str, atoms: int, steps: int, ranks: int, threads: int) -> tuple[float, float]:
    """Atom-steps per second of the second run of an input, and the peak memory of a rank, bytes."""
    (folder / "in.bench").write_text(text)
    programs = Path(sys.prefix) / "bin"
    command = [programs / "mpiexec", "-n", str(ranks), programs / "allegro-dist", "lmp", "-in", "in.bench"]
    command += ["-log", "none"] + (["-pk", "omp", str(threads)] if threads > 1 else [])
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(run.stdout[-2000:] + run.stderr[-2000:])
    loop = float(re.findall(r"Loop time of (\S+) on", run.stdout)[-1])
    return atoms * steps / loop, 1024.0 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss


class Peer:
    """A process of scripts/peer_nequip_allegro.py, which evaluates when asked."""

    def __init__(self, python: str, mode: str, model: str, tuned: bool) -> None:
        thresholds = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)} if tuned else {}
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("peer_nequip_allegro.py")), mode, model, str(PEER_CELLS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | thresholds | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self._read()

    def _read(self) -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("ready") or line[0].isdigit():
                return line
        raise SystemExit(f"a peer stopped: {self.process.args}")

    def rate(self) -> float:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return float(self._read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="s5")
    parser.add_argument("--evaluators", default="torchscript,exact,tabulated")
    parser.add_argument("--cells", type=int, default=5, help="cubic cells of 8 atoms along each edge")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peer-python", help="interpreter of an environment with nequip-allegro")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--smoke", action="store_true", help="one short round: does everything run?")
    args = parser.parse_args()
    if args.smoke:
        args.cells, args.rounds, args.steps = 2, 1, 2
    torch.set_num_threads(1)
    atoms = 8 * args.cells**3
    rates: dict[tuple[str, str], list[float]] = {}
    flops, memory, gemm = {}, {}, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = []
        for model in args.models.split(","):
            potential, (_, types, neighbors) = make_potential(model), MODELS[model]
            tables = choose_tables(potential, [], 2e-6)
            print(f"{model}: {neighbors} neighbors, {tables[0].intervals} table intervals", flush=True)
            save_archive(folder / f"{model}-exact.pth", potential)
            save_archive(folder / f"{model}-tabulated.pth", potential, tables=tables if tables[1] else (Tables(), {}))
            fractions = "\n".join(
                f"set group all type/fraction {k} {1 / len(types)} {k}" for k in range(2, len(types) + 1)
            )
            for evaluator in args.evaluators.split(","):
                tabulated = evaluator == "tabulated"
                text = INPUT.format(
                    cells=args.cells, num_types=len(types), types=fractions, steps=args.steps, names=" ".join(types),
                    evaluator="torchscript" if evaluator == "torchscript" else "fused",
                    archive=f"{model}-{'tabulated' if tabulated else 'exact'}.pth",
                )  # fmt: skip
                flops[model, evaluator] = dense_flops(potential, neighbors, tabulated)
                rates[model, evaluator] = []
                cases.append(((model, evaluator), text))
        peers = {}
        for model in args.models.split(",") if args.peer_python else []:
            for mode in ("eager", "aotinductor"):
                for tuned in (False, True):
                    key = (model, f"nequip-allegro/{mode}{', tuned malloc' if tuned else ''}")
                    peers[key], rates[key] = Peer(args.peer_python, mode, model, tuned), []
        for _ in range(args.rounds):
            for key, peer in peers.items():
                rates[key].append(peer.rate())
            gemm.append(sgemm_rate())
            for key, text in cases:
                rate, memory[key] = lammps_rate(folder, text, atoms, args.steps, args.ranks, args.threads)
                rates[key].append(rate)
    sgemm = statistics.median(gemm)
    print(f"{atoms} atoms, {args.ranks} rank(s), {args.threads} thread(s), {args.rounds} rounds of {args.steps} steps;")
    print(f"SGEMM 2048^3 on one thread: {sgemm / 1e9:.0f} GFLOP/s\n")
    print("| model | evaluator | atom-steps/s | spread | dense products against SGEMM, per core |")
    print("| --- | --- | --- | --- | --- |")
    rows = []
    for (model, evaluator), values in rates.items():
        median = statistics.median(values)
        spread = f"{min(values):,.0f} .. {max(values):,.0f}"
        row = {"model": model, "evaluator": evaluator, "atom_steps_per_s": median}
        if (model, evaluator) in peers:
            print(f"| {model} | {evaluator} | {median:,.0f} | {spread} | |")
            rows.append(row | {"engine": "python", "atoms": 8 * PEER_CELLS**3, "ranks": 1, "threads": 1})
            continue
        fraction = flops[model, evaluator] * median / (args.ranks * args.threads) / sgemm
        print(f"| {model} | {evaluator} | {median:,.0f} | {spread} | {fraction:.2f} |")
        rows.append(row | {"engine": "lammps", "atoms": atoms, "ranks": args.ranks, "threads": args.threads,
                           "fraction_of_sgemm": fraction,
                           "peak_bytes_of_largest_process_so_far": memory[model, evaluator]})  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "sgemm": sgemm}, indent=1) + "\n")


if __name__ == "__main__":
    main()
