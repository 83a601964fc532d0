#!/usr/bin/env python3
"""Atom-steps per second of `pair_style allegro` in LAMMPS: models x evaluators x peers, alternating, beside SGEMM.

    python scripts/benchmark.py [--models s5,big,three] [--evaluators torchscript,exact,tabulated] [--cells 5]
                                [--peers nequip-allegro,deepmd,mace,sevennet,sw,tersoff,snap,uf3,pod | all]
                                [--ranks 1] [--threads 1] [--rounds 5] [--steps 20] [--memory] [--json FILE]
                                [--plot FILE.png] [--roofline FILE.png] [--prepare] [--smoke]

s5        one type, r_max 5, l_max 2, 2 layers, 32 tensor channels, 64-wide scalars and MLPs; diamond silicon, 28
          neighbors
s5-float64      likewise, in double precision
big       l_max 3, 64 tensor channels, 128-wide
three     s5 with three types and r_max 6 (46 neighbors)
layers3, layers4, types2, types4, types8      s5 with more layers or types
small     l_max 1, one layer, 8 tensor channels, 16-wide, r_max 4 (16 neighbors)
2022      s5 in the 2022 form of Allegro, which runs by TorchScript

Weights are random.  A round runs every contestant once, and one SGEMM of 2048^3 in this process; medians are reported.
`fraction_of_sgemm` counts the dense products alone (forward and backward, per edge and per atom), so it is what the
whole step achieves against a machine that did nothing but those products; `flops_per_s` counts tables and tensor track,
too.

Peers are installed from PyPI into environments of their own under ~/.cache/allegro_dist/peers, and their compiled
models are kept there: `--prepare` does that and stops, so that a timed run is short.  Each runs with malloc as it is
and tuned by hand; `nequip-allegro/aotinductor` picks one mode.
nequip-allegro           the same models: eager, AOTInductor; energies, forces and virial of 216 atoms from Python,
mace, sevennet           their own models, likewise; neighbor lists are left out
deepmd                   se_e2_a, frozen and compressed, in the LAMMPS of its environment
sw, tersoff, snap        LAMMPS's own pair styles for silicon, for scale
uf3, pod                 LAMMPS's own for niobium and tantalum (bcc), the only potentials that come with it

--memory measures bytes per atom: the growth of a process's peak memory with the number of atoms, less that of the same
input with `pair_style zero`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch
from benchmarking.lammps_runs import RunSettings, our_runs
from benchmarking.machine import cpu_name, sgemm_rate, stream_bandwidth
from benchmarking.models import MODELS
from benchmarking.peers import NAMES, check_names, make_peers
from benchmarking.report import Limits, make_rows, plot_bars, table
from benchmarking.results import Contestant, Result
from benchmarking.roofline import plot_roofline

EVALUATORS = ("torchscript", "exact", "tabulated")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="s5", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--evaluators", default=",".join(EVALUATORS))
    parser.add_argument("--peers", default="", help=f"of {', '.join(NAMES)}; or all")
    parser.add_argument("--cells", type=int, default=5, help="cubic cells of 8 atoms along each edge")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--memory", action="store_true", help="measure bytes per atom, too")
    parser.add_argument("--json", type=Path, help="write rows and the machine's limits there")
    parser.add_argument("--plot", type=Path, help="bars of atom-steps/s")
    parser.add_argument("--roofline", type=Path, help="our evaluators below the machine's limits")
    parser.add_argument("--prepare", action="store_true", help="install and compile the peers, time nothing")
    parser.add_argument("--smoke", action="store_true", help="one short round: does everything run?")
    args = parser.parse_args()
    args.models, args.evaluators = args.models.split(","), args.evaluators.split(",")
    args.peers = list(NAMES) if args.peers == "all" else [peer for peer in args.peers.split(",") if peer]
    for what, given, known in (("models", args.models, MODELS), ("evaluators", args.evaluators, EVALUATORS)):
        if unknown := [name for name in given if name not in known]:
            parser.error(f"--{what} {', '.join(unknown)}: expected some of {', '.join(known)}")
    try:
        check_names(args.peers)
    except ValueError as error:
        parser.error(str(error))
    if args.smoke:
        args.cells, args.rounds, args.steps = 2, 1, 2
    return args


def main() -> None:
    args = arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        memory_cells = (2, 4) if args.smoke else (10, 20)
        settings = RunSettings(Path(folder), args.cells, args.steps, args.ranks, args.threads, memory_cells)
        contestants: list[Contestant] = [*make_peers(args.peers, args.models, settings)]
        if args.prepare:
            return
        for model in args.models:
            contestants += our_runs(model, args.evaluators, settings)
        results, sgemm = [Result(contestant) for contestant in contestants], []
        for _ in range(args.rounds):
            sgemm.append(sgemm_rate())
            for result in results:
                result.rates.append(result.contestant.rate())
        for result in results if args.memory else ():
            result.memory = result.contestant.bytes_per_atom()
    limits = Limits(cpu_name(), statistics.median(sgemm), stream_bandwidth())
    rows = make_rows(results, limits)
    print(f"{limits.cpu}; {args.ranks} rank(s), {args.threads} thread(s), {args.rounds} rounds of {args.steps} steps;")
    print(f"one thread: SGEMM 2048^3 {limits.sgemm / 1e9:.0f} GFLOP/s, stream {limits.stream / 1e9:.1f} GB/s\n")
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "machine": limits._asdict()}, indent=1) + "\n")
    if args.plot:
        plot_bars(rows, args.plot)
    if args.roofline:
        plot_roofline(rows, limits, args.roofline)


if __name__ == "__main__":
    main()
