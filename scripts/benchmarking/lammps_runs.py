"""Pair styles timed and measured in LAMMPS: ours, LAMMPS's own, and those of a peer's LAMMPS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from allegro_dist.deploy.archive import save_archive
from allegro_dist.deploy.tables import Tables, choose_tables
from allegro_dist.fused_program import fused_program
from allegro_dist.simulate.lammps_runtime import lammps_folder
from allegro_dist.simulate.lammps_timings import timings_in
from benchmarking.models import MODELS, BenchmarkModel, Work, count_work, make_potential

INPUT = """
units metal
lattice {crystal.lattice}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box {num_types} box
create_atoms 1 box
{types}
mass * {crystal.mass}
{pair}
velocity all create 300 1
fix nve all nve
run {steps}
run {steps}
"""


class Crystal(NamedTuple):
    lattice: str  # as LAMMPS has it, Angstrom
    mass: float
    atoms_per_cell: int

    def cells(self, diamond_cells: int) -> int:
        """Cells along an edge that hold about as many atoms as diamond_cells^3 cells of diamond."""
        return max(1, round(diamond_cells * (8 / self.atoms_per_cell) ** (1 / 3)))


SILICON = Crystal("diamond 5.43", 28.0855, 8)
LAMMPS_STYLES = {  # crystal, input; the files are in LAMMPS's potentials folder
    "sw": (SILICON, "pair_style sw\npair_coeff * * Si.sw Si"),
    "tersoff": (SILICON, "pair_style tersoff\npair_coeff * * Si.tersoff Si"),
    "snap": (
        SILICON,
        "pair_style snap\npair_coeff * * Si_Zuo_JPCA2020.snapcoeff Si_Zuo_JPCA2020.snapparam Si",
    ),
    "uf3": (Crystal("bcc 3.32", 92.906, 2), "pair_style uf3 3\npair_coeff * * Nb.uf3 Nb"),
    "pod": (Crystal("bcc 3.316", 180.948, 2), "pair_style pod\npair_coeff * * Ta_param.pod Ta_coeff.pod Ta"),
}


def own_lmp() -> list[str]:
    return [str(Path(sys.prefix, "bin", "allegro-dist")), "lmp"]


@dataclass(frozen=True)
class RunSettings:
    """How long and how wide all runs of a benchmark are."""

    folder: Path  # where inputs are written and archives lie
    cells: int  # of diamond along an edge
    steps: int
    ranks: int = 1
    threads: int = 1
    memory_cells: tuple[int, int] = (10, 20)


@dataclass
class LammpsRun:
    """A contestant that is an input of LAMMPS."""

    model: str
    evaluator: str
    pair: str
    settings: RunSettings
    crystal: Crystal = SILICON
    types: str = ""
    num_types: int = 1
    cutoff: float = 5.0  # Angstrom, of the list of neighbors
    work: Work | None = None
    lmp: list[str] = field(default_factory=own_lmp)
    environment: dict[str, str] = field(default_factory=dict)
    engine: str = "lammps"

    @property
    def cells(self) -> int:
        return self.crystal.cells(self.settings.cells)

    @property
    def atoms(self) -> int:
        return self.crystal.atoms_per_cell * self.cells**3

    @property
    def cores(self) -> int:
        return self.settings.ranks * self.settings.threads

    @property
    def zero(self) -> str:
        """Input for pair_style zero with the same list of neighbors."""
        return f"pair_style zero {self.cutoff}\npair_coeff * *"

    def text(self, cells: int, steps: int, pair: str | None = None) -> str:
        return INPUT.format(
            crystal=self.crystal, cells=cells, steps=steps, types=self.types, num_types=self.num_types,
            pair=pair or self.pair,
        )  # fmt: skip

    def rate(self) -> float:
        """Of the second of two equal runs, by LAMMPS's clock."""
        output = self.execute(self.text(self.cells, self.settings.steps), self.settings.ranks, self.settings.threads)
        return timings_in(output)[-1].atom_steps_per_second

    def execute(self, text: str, ranks: int = 1, threads: int = 1) -> str:
        """What LAMMPS printed.

        Raises: SystemExit where it stopped.
        """
        process = self._start(text, ranks, threads)
        process.wait()
        return self._output(process)

    def watch(self, text: str, ranks: int = 1) -> tuple[str, float]:
        """What LAMMPS printed, and the largest rank's peak of resident memory, bytes.

        Raises: SystemExit where it stopped.
        """
        process, peak = self._start(text, ranks), 0
        # Not ru_maxrss, which starts from what this process holds. The mark only grows: the last one seen counts.
        while process.poll() is None:
            peak = max([peak, *(peak_of_process(file.name) for file in self._pids.iterdir())])
            time.sleep(0.002)
        return self._output(process), 1024.0 * peak

    @property
    def _pids(self) -> Path:
        return self.settings.folder / "pids"

    def _start(self, text: str, ranks: int, threads: int = 1) -> subprocess.Popen[bytes]:
        """Ranks of lmp, each of which leaves an empty file named for its process; output in the folder."""
        shutil.rmtree(self._pids, ignore_errors=True)
        self._pids.mkdir()
        (self.settings.folder / "in.bench").write_text(text)
        command = [str(Path(self.lmp[0]).parent / "mpiexec"), "-n", str(ranks)]
        command += ["sh", "-c", ': >"pids/$$"; exec "$@"', "sh", *self.lmp, "-in", "in.bench", "-log", "none"]
        command += ["-pk", "omp", str(threads)] if threads > 1 else []
        environment = os.environ | self.environment | {"OMP_NUM_THREADS": str(threads)}
        with (self.settings.folder / "out.bench").open("wb") as output:
            return subprocess.Popen(
                command, cwd=self.settings.folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT,
            )  # fmt: skip

    def _output(self, process: subprocess.Popen[bytes]) -> str:
        output = (self.settings.folder / "out.bench").read_text()
        if process.returncode:
            raise SystemExit(f"{self.model}, {self.evaluator}: LAMMPS stopped\n{output[-4000:]}")
        return output

    def bytes_per_atom(self) -> float:
        """Growth of the peak memory with the number of atoms, less that of the same input with pair_style zero."""
        small, large = (self.crystal.cells(cells) for cells in self.settings.memory_cells)
        growth = {}
        for pair in (self.pair, self.zero):
            peaks = [self.watch(self.text(cells, 1, pair))[1] for cells in (small, large)]
            growth[pair] = (peaks[1] - peaks[0]) / (self.crystal.atoms_per_cell * (large**3 - small**3))
        return growth[self.pair] - growth[self.zero]


def peak_of_process(pid: str) -> int:
    """The high-water mark of its resident memory, kB; 0 where it has ended."""
    try:
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc", pid, "status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) if found else 0


def our_runs(name: str, evaluators: list[str], settings: RunSettings) -> list[LammpsRun]:
    """The pair style's evaluators over archives of the model, written to the folder."""
    model = MODELS[name]
    potential = make_potential(model)
    tables = choose_tables(potential, [], 2e-6)
    print(f"{name}: {model.neighbors} neighbors, {tables[0].intervals} table intervals", flush=True)
    save_archive(settings.folder / f"{name}-exact.pth", potential)
    save_archive(settings.folder / f"{name}-tabulated.pth", potential, tables=tables if tables[1] else (Tables(), {}))
    runs, has_program = [], bool(fused_program(potential))
    for evaluator in evaluators if has_program else ["torchscript"]:
        tabulated = evaluator == "tabulated"
        archive = f"{name}-{'tabulated' if tabulated else 'exact'}.pth"
        style = f"pair_style allegro evaluator {'torchscript' if evaluator == 'torchscript' else 'fused'}"
        pair = f"{style}\npair_coeff * * {archive} {' '.join(model.types)}"
        work = count_work(potential, model.neighbors, tabulated) if has_program else None
        runs.append(
            LammpsRun(
                name, evaluator, pair, settings, types=random_types(model), num_types=len(model.types),
                cutoff=model.r_max, work=work,
            )
        )  # fmt: skip
    return runs


def random_types(model: BenchmarkModel) -> str:
    """Commands that give every atom one of the model's types, all equally often."""
    # type k takes its share of the atoms that it finds among k types still to be served
    return "\n".join(f"set type 1 type/fraction {k} {1 / k:.6g} {k}" for k in range(len(model.types), 1, -1))


def lammps_style(name: str, settings: RunSettings) -> LammpsRun:
    """One of LAMMPS's own pair styles."""
    os.environ.setdefault("LAMMPS_POTENTIALS", str(lammps_folder() / "share" / "lammps" / "potentials"))
    crystal, pair = LAMMPS_STYLES[name]
    return LammpsRun(name, f"lammps/{name}", pair, settings, crystal)
