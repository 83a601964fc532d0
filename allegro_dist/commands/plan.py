"""`allegro-dist plan`: predicted time per step, efficiency and memory of large simulations, before asking for nodes."""

from __future__ import annotations

import argparse
import dataclasses
import math
from pathlib import Path

from allegro_dist.config import ConfigError, from_dict, read_values
from allegro_dist.deploy.archive_file import read_model_card
from allegro_dist.files import write_json
from allegro_dist.simulate.scaling import Machine, Prediction, Workload, at_rate, predict, predicted_gpus
from allegro_dist.tables import Table

SPHERE = 4 / 3 * math.pi  # volume over radius^3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--atoms", type=float, nargs="+", required=True, metavar="N", help="for example 1e6 1e8")
    add("--nodes", type=float, nargs="+", required=True, metavar="N", help="for example 1 128")
    add("--model", metavar="MODEL.pth", help="take cutoff and neighbors from an archive (s5 of docs/performance.md)")
    add(
        "--rate",
        type=float,
        metavar="R",
        help="atom-steps/s of that model on one rank, as measured; see docs/scaling.md",
    )
    add("--machine", metavar="FILE.yaml", help="machine description; 'gpu': a prediction for H200s, never measured")
    add("--ranks-per-node", type=int, metavar="N", help="MPI ranks on a node (64, or the machine description's)")
    add("--r-max", type=float, help="cutoff, Angstrom (5, or the model's)")
    add("--neighbors", type=float, help="edges per atom (28, or the model's)")
    add("--density", type=float, help="atoms/A^3 (from cutoff and neighbors)")
    add("--skin", type=float, default=2.0, help="of the neighbor list, Angstrom (2)")
    add("--rebuild-every", type=float, default=10, metavar="STEPS", help="between neighbor lists (10)")
    add("--timestep", type=float, default=1.0, help="fs (1)")
    add("--json", metavar="FILE", help="write everything there too (s, bytes)")


def run(args: argparse.Namespace) -> int:
    atoms, nodes = _whole("--atoms", args.atoms), _whole("--nodes", args.nodes)
    system, machine = _system(args), _machine(args)
    if args.rate is not None:
        machine = at_rate(machine, _positive("--rate", args.rate), system)
    rows = [predict(dataclasses.replace(system, num_atoms=a), machine, n) for a in atoms for n in nodes]
    if args.json:
        result = {"machine": dataclasses.asdict(machine), "rows": [_record(row, args.timestep) for row in rows]}
        write_json(Path(args.json), result)
    _table(rows, machine, args.timestep).show()
    if args.model and args.rate is None and args.machine in (None, "gpu"):
        print("The cost per edge is that of s5, not of this model: give --rate, or measure (docs/scaling.md).")
    return 0


def _system(args: argparse.Namespace) -> Workload:
    """Without its number of atoms."""
    r_max, neighbors = 5.0, 28.0
    if args.model:
        card = read_model_card(args.model)
        r_max, given = card["r_max"], card["avg_num_neighbors"]
        neighbors = sum(given) / len(given)
    r_max = _positive("--r-max", r_max if args.r_max is None else args.r_max)
    neighbors = _positive("--neighbors", neighbors if args.neighbors is None else args.neighbors)
    density = neighbors / (SPHERE * r_max**3) if args.density is None else args.density
    _positive("--timestep", args.timestep)
    if not 0 <= args.skin < math.inf:
        raise ConfigError(f"--skin: expected at least 0 Angstrom, got {args.skin:g}")
    if not 1 <= args.rebuild_every < math.inf:
        raise ConfigError(f"--rebuild-every: expected at least 1 step, got {args.rebuild_every:g}")
    return Workload(
        num_atoms=1, density=_positive("--density", density), r_max=r_max, num_neighbors=neighbors, skin=args.skin,
        rebuild_every=args.rebuild_every,
    )  # fmt: skip


def _machine(args: argparse.Namespace) -> Machine:
    if args.machine == "gpu":
        machine = predicted_gpus()
    elif args.machine:
        machine = from_dict(Machine, read_values(args.machine), args.machine)
    else:
        machine = Machine()
    if args.ranks_per_node is None:
        return machine
    if args.ranks_per_node < 1:
        raise ConfigError(f"--ranks-per-node: expected at least 1, got {args.ranks_per_node}")
    return dataclasses.replace(machine, ranks_per_node=args.ranks_per_node)


def _table(rows: list[Prediction], machine: Machine, timestep: float) -> Table:
    columns = ["atoms", "nodes", "ranks", "atoms/rank", "ghosts/atom", "ms/step", "pair", "neighbor", "comm.",
               "efficiency", "ns/day", "MB/rank"]  # fmt: skip
    cells = [[
        f"{row.num_atoms:.4g}", str(row.nodes), f"{row.ranks:,}", f"{row.atoms_per_rank:,.0f}",
        f"{row.ghosts_per_rank / row.atoms_per_rank:.2f}", f"{row.step * 1e3:.3g}",
        *(f"{part / row.step:.1%}" for part in (row.pair, row.neighbor, row.communication)),
        f"{row.efficiency:.2f}", f"{row.ns_per_day(timestep):.3g}", f"{row.memory_per_rank / 1e6:,.0f}",
    ] for row in rows]  # fmt: skip
    return Table(f"Predicted: {machine.name}, {machine.ranks_per_node} ranks on a node", columns, cells)


def _record(row: Prediction, timestep: float) -> dict[str, object]:
    rates = {"step": row.step, "atom_steps_per_second": row.atom_steps_per_second}
    return dataclasses.asdict(row) | rates | {"ns_per_day": row.ns_per_day(timestep)}


def _whole(name: str, values: list[float]) -> list[int]:
    for value in values:
        if not 1 <= value < 1e15 or value != int(value):
            raise ConfigError(f"{name}: expected whole numbers from 1, got {value:g}")
    return [int(value) for value in values]


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ConfigError(f"{name}: expected a positive number, got {value:g}")
    return value
