"""How a pair style grows with atoms and ranks: memory, efficiency, and energies that must not change."""

from __future__ import annotations

import re
import statistics
from typing import Any

from allegro_dist.simulate.lammps_timings import Timing, timings_in
from benchmarking.lammps_runs import LammpsRun

INPUT = """
units metal
lattice diamond 5.43
region box block 0 {box[0]} 0 {box[1]} 0 {box[2]}
create_box 1 box
create_atoms 1 box
mass * 28.0855
{pair}
displace_atoms all random 0.05 0.05 0.05 1
velocity all create 300 1 loop geom
neigh_modify every 10 delay 0 check no
fix nve all nve
thermo_style custom step etotal
thermo_modify format float %.15g norm no
run {warm_up}
run {steps}
"""
SHARES = ("Pair", "Neigh", "Comm")
TOLERANCES = {"float64": 1e-10, "float32": 1e-6}  # of the total energy, relative
Row = dict[str, Any]


def boxed(atoms: int) -> tuple[int, int, int]:
    """Cells of eight atoms along each edge: the divisors of their number that are nearest to a cube."""
    cells = max(1, round(atoms / 8))
    x = max(d for d in range(1, round(cells ** (1 / 3)) + 1) if cells % d == 0)
    y = max(d for d in range(1, round((cells // x) ** 0.5) + 1) if cells // x % d == 0)
    return x, y, cells // x // y


def count(box: tuple[int, int, int]) -> int:
    return 8 * box[0] * box[1] * box[2]


def total_energies(output: str) -> list[float]:
    """eV, of each line of thermo output."""
    return [float(energy) for energy in re.findall(r"^ *\d+ +(-?\d\S+) *$", output, re.MULTILINE)]


def last_run(output: str) -> Timing:
    return timings_in(output)[-1]


def memory_rows(run: LammpsRun, atoms: list[int], ranks: int, steps: int) -> list[Row]:
    rows: list[Row] = []
    for number in atoms:
        box = boxed(number)
        row: Row = {"atoms": count(box), "ranks": ranks}
        for name, pair in (("zero", run.zero), ("ours", run.pair)):
            output, peak = run.watch(INPUT.format(box=box, pair=pair, warm_up=0, steps=steps), ranks)
            row |= {f"{name}_peak_MB": peak / 1e6, f"{name}_bytes_per_atom": None}
            if rows:
                growth = ranks * (row[f"{name}_peak_MB"] - rows[-1][f"{name}_peak_MB"]) * 1e6
                row[f"{name}_bytes_per_atom"] = growth / (row["atoms"] - rows[-1]["atoms"])
        energies = total_energies(output)
        rows.append(row | {"loop_s": last_run(output).seconds, "first_eV": energies[0], "last_eV": energies[-1]})
    return rows


def efficiency_rows(run: LammpsRun, strong: int, weak: int, steps: int, rounds: int) -> list[Row]:
    cases = [(kind, ranks, boxed(number)) for kind, ranks, number in (
        ("strong", 1, strong), ("strong", 2, strong), ("weak", 1, weak), ("weak", 2, 2 * weak),
    )]  # fmt: skip
    outputs: list[list[str]] = [[] for _ in cases]
    for _ in range(rounds):
        for (_, ranks, box), seen in zip(cases, outputs):
            seen.append(run.execute(INPUT.format(box=box, pair=run.pair, warm_up=2, steps=steps), ranks))
    rows: list[Row] = []
    for (kind, ranks, box), seen in zip(cases, outputs):
        runs = [last_run(output) for output in seen]
        seconds = statistics.median(r.seconds for r in runs)
        row: Row = {"scaling": kind, "ranks": ranks, "atoms": count(box), "loop_s": seconds}
        row |= {"fastest_s": min(r.seconds for r in runs), "slowest_s": max(r.seconds for r in runs)}
        row["atom_steps_per_s"] = row["atoms"] * steps / seconds
        single = row if ranks == 1 else rows[-1]
        row["efficiency"] = row["atom_steps_per_s"] / ranks / single["atom_steps_per_s"]
        for share in SHARES:
            row[f"{share}_percent"] = statistics.median(100 * r.sections[share] / r.seconds for r in runs)
        rows.append(row)
    return rows


def energy_rows(runs: dict[str, LammpsRun], atoms: int) -> list[Row]:
    box, rows = boxed(atoms), []
    for dtype, run in runs.items():
        single = None
        for ranks in (1, 2, 4, 8):
            text = INPUT.format(box=box, pair=run.pair, warm_up=0, steps=10)
            energy = total_energies(run.execute(text, ranks))[-1]
            single = energy if single is None else single
            row = {"dtype": dtype, "ranks": ranks, "atoms": count(box), "total_eV": energy}
            rows.append(row | {"relative_deviation": abs(energy / single - 1), "allowed": TOLERANCES[dtype]})
    return rows
