#!/usr/bin/env python3
"""Atom-steps per second of `pair_style allegro` in LAMMPS: models x evaluators, alternating, beside SGEMM.

    python scripts/benchmark.py [--models s5,big,three] [--evaluators torchscript,exact,tabulated] [--cells 5]
                                [--peers nequip-allegro,sw,tersoff,snap] [--ranks 1] [--threads 1] [--rounds 5]
                                [--steps 20] [--memory] [--json FILE] [--plot FILE.png] [--smoke]

s5     one type, r_max 5, l_max 2, 2 layers, 32 tensor channels, 64-wide scalars and MLPs; diamond silicon, 28 neighbors
big    l_max 3, 64 tensor channels, 128-wide
three  s5 with three types and r_max 6 (46 neighbors)

Weights are random.  A round runs every evaluator once and one SGEMM of 2048^3 in this process; medians are reported.
`fraction_of_sgemm` counts the dense products alone (forward and backward, per edge and per atom), so it is what the
whole step achieves against a machine that did nothing but those products.

Peers: `sw`, `tersoff` and `snap` are LAMMPS's own pair styles for silicon, for scale. `nequip-allegro` is that
package's model of the same settings, eager and by AOTInductor, with malloc as it is and tuned by hand, without its
neighbor lists, at a size that suits it (216 atoms); it is installed from PyPI into an environment of its own under
~/.cache/allegro_dist/peers, or taken from --peer-python.

--memory measures bytes per atom: the growth of a process's peak memory with the number of atoms, less that of the same
input with `pair_style zero`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from allegro_dist.config import AllegroConfig
from allegro_dist.deploy.archive import save_archive
from allegro_dist.deploy.fused import Tables, fused_program
from allegro_dist.deploy.tables import choose_tables
from allegro_dist.potential import Potential, build_potential
from allegro_dist.simulate.lammps_runtime import lammps_folder

WIDE = {"num_scalar_features": 128, "two_body_mlp_width": 128, "latent_mlp_width": 128, "readout_mlp_width": 64}
MODELS: dict[str, tuple[dict[str, Any], tuple[str, ...], int]] = {  # options, types, neighbors in diamond silicon
    "s5": ({}, ("Si",), 28),
    "big": ({"l_max": 3, "num_tensor_features": 64} | WIDE, ("Si",), 28),
    "three": ({"r_max": 6.0}, ("Si", "Ge", "C"), 46),
}
PEER_CELLS = 3
LAMMPS_PEERS = {  # files in LAMMPS's potentials folder
    "sw": "pair_style sw\npair_coeff * * Si.sw Si",
    "tersoff": "pair_style tersoff\npair_coeff * * Si.tersoff Si",
    "snap": "pair_style snap\npair_coeff * * Si_Zuo_JPCA2020.snapcoeff Si_Zuo_JPCA2020.snapparam Si",
}
INPUT = """
units metal
lattice diamond 5.43
region box block 0 {cells} 0 {cells} 0 {cells}
create_box {num_types} box
create_atoms 1 box
{types}
mass * 28.0855
{pair}
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


@dataclass
class LammpsCase:
    """An input of LAMMPS but for its size and length."""

    model: str
    evaluator: str
    pair: str
    types: str = ""
    num_types: int = 1
    flops: float | None = None  # of the dense products, per atom and step

    def text(self, cells: int, steps: int, pair: str | None = None) -> str:
        return INPUT.format(
            cells=cells, steps=steps, types=self.types, num_types=self.num_types, pair=pair or self.pair
        )

    def rate(self, folder: Path, cells: int, steps: int, ranks: int, threads: int) -> float:
        """Atom-steps per second of the second run of the input."""
        (folder / "in.bench").write_text(self.text(cells, steps))
        programs = Path(sys.prefix) / "bin"
        command = [programs / "mpiexec", "-n", str(ranks), programs / "allegro-dist", "lmp", "-in", "in.bench"]
        command += ["-log", "none"] + (["-pk", "omp", str(threads)] if threads > 1 else [])
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if run.returncode:
            raise SystemExit(run.stdout[-2000:] + run.stderr[-2000:])
        return 8 * cells**3 * steps / float(re.findall(r"Loop time of (\S+) on", run.stdout)[-1])

    def bytes_per_atom(self, folder: Path, small: int, large: int) -> float:
        """Growth of the peak memory from `small` to `large` cells along an edge, less that of pair_style zero."""
        growth = {}
        zero = f"pair_style zero {self.cutoff}\npair_coeff * *"
        for pair in (self.pair, zero):
            peaks = [peak_memory(folder, self.text(cells, 1, pair)) for cells in (small, large)]
            growth[pair] = (peaks[1] - peaks[0]) / (8 * (large**3 - small**3))
        return growth[self.pair] - growth[zero]

    @property
    def cutoff(self) -> float:
        return float(MODELS[self.model][0].get("r_max", 5.0)) if self.model in MODELS else 5.0


def peak_memory(folder: Path, text: str) -> float:
    """Of one process of lmp, bytes."""
    (folder / "in.memory").write_text(text)
    command = [str(Path(sys.prefix) / "bin" / "allegro-dist"), "lmp", "-in", "in.memory", "-log", "none"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Not ru_maxrss, which starts from what this process holds. The mark only grows: the last one seen counts.
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        if found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text()):
            peak = int(found[1])
        time.sleep(0.002)
    if process.returncode:
        raise SystemExit("a run for the memory failed:\n" + text)
    return 1024.0 * peak


def peer_environment() -> str:
    """The interpreter of an environment with nequip-allegro, made on first use."""
    folder = Path.home() / ".cache" / "allegro_dist" / "peers" / "nequip-allegro"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing nequip-allegro into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"torch=={torch.__version__.split('+')[0]}"], check=True)
        subprocess.run([*pip, "nequip-allegro"], check=True)
        (folder / "ready").touch()
    return str(python)


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
    parser.add_argument("--peers", default="", help=f"of nequip-allegro, {', '.join(LAMMPS_PEERS)}")
    parser.add_argument("--peer-python", help="interpreter of an environment with nequip-allegro")
    parser.add_argument("--memory", action="store_true", help="measure bytes per atom, too")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--smoke", action="store_true", help="one short round: does everything run?")
    args = parser.parse_args()
    wanted = [peer for peer in args.peers.split(",") if peer]
    if unknown := set(wanted) - {"nequip-allegro", *LAMMPS_PEERS}:
        parser.error(
            f"--peers {', '.join(sorted(unknown))}: expected some of nequip-allegro, {', '.join(LAMMPS_PEERS)}"
        )
    if args.smoke:
        args.cells, args.rounds, args.steps = 2, 1, 2
    torch.set_num_threads(1)
    os.environ.setdefault("LAMMPS_POTENTIALS", str(lammps_folder() / "share" / "lammps" / "potentials"))
    atoms = 8 * args.cells**3
    rates: dict[tuple[str, str], list[float]] = {}
    memory: dict[tuple[str, str], float] = {}
    gemm: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases: dict[tuple[str, str], LammpsCase] = {}
        for model in args.models.split(","):
            for case in our_cases(folder, model, args.evaluators.split(",")):
                cases[model, case.evaluator] = case
        for peer in wanted:
            if peer in LAMMPS_PEERS:
                cases["silicon", peer] = LammpsCase("silicon", peer, LAMMPS_PEERS[peer])
        peers = {}
        for model in args.models.split(",") if "nequip-allegro" in wanted else []:
            python = args.peer_python or peer_environment()
            for mode in ("eager", "aotinductor"):
                for tuned in (False, True):
                    key = (model, f"nequip-allegro/{mode}{', tuned malloc' if tuned else ''}")
                    peers[key] = Peer(python, mode, model, tuned)
        for _ in range(args.rounds):
            for key, peer in peers.items():
                rates.setdefault(key, []).append(peer.rate())
            gemm.append(sgemm_rate())
            for key, case in cases.items():
                rate = case.rate(folder, args.cells, args.steps, args.ranks, args.threads)
                rates.setdefault(key, []).append(rate)
        if args.memory:
            sizes = (2, 4) if args.smoke else (10, 20)
            memory = {key: case.bytes_per_atom(folder, *sizes) for key, case in cases.items()}
    sgemm = statistics.median(gemm)
    rows = []
    for key, values in rates.items():
        row: dict[str, Any] = {"model": key[0], "evaluator": key[1], "engine": "python" if key in peers else "lammps"}
        row |= {"atoms": 8 * PEER_CELLS**3 if key in peers else atoms, "ranks": 1 if key in peers else args.ranks}
        row |= {"threads": 1 if key in peers else args.threads, "atom_steps_per_s": statistics.median(values)}
        row |= {"slowest": min(values), "fastest": max(values), "bytes_per_atom": memory.get(key)}
        flops = cases[key].flops if key in cases else None
        per_core = row["atom_steps_per_s"] / (row["ranks"] * row["threads"])
        rows.append(row | {"fraction_of_sgemm": flops * per_core / sgemm if flops else None})
    print(f"{atoms} atoms, {args.ranks} rank(s), {args.threads} thread(s), {args.rounds} rounds of {args.steps} steps;")
    print(f"SGEMM 2048^3 on one thread: {sgemm / 1e9:.0f} GFLOP/s\n")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "sgemm_flops_per_s": sgemm}, indent=1) + "\n")
    if args.plot:
        plot(rows, args.plot)


def our_cases(folder: Path, model: str, evaluators: list[str]) -> list[LammpsCase]:
    """The pair style's evaluators over archives of the model, written to the folder."""
    potential, (_, types, neighbors) = make_potential(model), MODELS[model]
    tables = choose_tables(potential, [], 2e-6)
    print(f"{model}: {neighbors} neighbors, {tables[0].intervals} table intervals", flush=True)
    save_archive(folder / f"{model}-exact.pth", potential)
    save_archive(folder / f"{model}-tabulated.pth", potential, tables=tables if tables[1] else (Tables(), {}))
    fractions = "\n".join(f"set group all type/fraction {k} {1 / len(types)} {k}" for k in range(2, len(types) + 1))
    cases = []
    for evaluator in evaluators:
        tabulated = evaluator == "tabulated"
        archive = f"{model}-{'tabulated' if tabulated else 'exact'}.pth"
        style = f"pair_style allegro evaluator {'torchscript' if evaluator == 'torchscript' else 'fused'}"
        cases.append(
            LammpsCase(
                model, evaluator, f"{style}\npair_coeff * * {archive} {' '.join(types)}", fractions, len(types),
                dense_flops(potential, neighbors, tabulated),
            )
        )  # fmt: skip
    return cases


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| model | evaluator | atom-steps/s | spread | dense products against SGEMM, per core | bytes/atom |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        fraction = "" if row["fraction_of_sgemm"] is None else f"{row['fraction_of_sgemm']:.2f}"
        size = "" if row["bytes_per_atom"] is None else f"{row['bytes_per_atom']:.0f}"
        spread = f"{row['slowest']:,.0f} .. {row['fastest']:,.0f}"
        rate = f"{row['atom_steps_per_s']:,.0f}"
        lines.append(f"| {row['model']} | {row['evaluator']} | {rate} | {spread} | {fraction} | {size} |")
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Horizontal bars on a logarithmic scale, with the spread of the rounds."""
    figure = Figure(figsize=(8, 1 + 0.35 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    rate = [row["atom_steps_per_s"] for row in rows]
    spread = [[r - row["slowest"] for r, row in zip(rate, rows)], [row["fastest"] - r for r, row in zip(rate, rows)]]
    axes.barh([f"{row['model']}: {row['evaluator']}" for row in rows], rate, xerr=spread)
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("atom-steps per second")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
