"""Several LAMMPS instances side by side: partitions, communicators of mpi4py, one after and beside another."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from allegro_dist.simulate.lammps_runtime import lmp_command, lmp_environment
from tests.conftest import TYPE_NAMES
from tests.lammps.lammps_run import MPIEXEC, pair_allegro, run_lammps, write_data

INPUT = """\
units metal
box tilt large
read_data structure.data
{pair}
fix move all nve
timestep 0.0002
run 5
"""

PYTHON = """\
import sys
from mpi4py import MPI
from allegro_dist.simulate.lammps_runtime import import_lammps, load_plugin

def start(comm):
    lmp = import_lammps().lammps(comm=comm, cmdargs=["-screen", "none", "-log", "none"])
    load_plugin(lmp)
    return lmp

world = MPI.COMM_WORLD
"""

TWO_COMMUNICATORS = """\
part = world.Split(world.rank % 2)
lmp = start(part)
lmp.file(f"in.{world.rank % 2}")
energy = lmp.get_thermo("pe")
assert part.size == 2
energies = world.gather(energy)
if world.rank == 0:
    for k in (0, 1):
        print("energy", k, float(energies[k]), flush=True)
"""

PART_OF_THE_WORLD = """\
part = world.Split(0 if world.rank < 2 else MPI.UNDEFINED)
if part != MPI.COMM_NULL:
    lmp = start(part)
    lmp.file("in.0")
    energy = lmp.get_thermo("pe")
    if part.rank == 0:
        print("energy 0", float(energy), flush=True)
"""

TWO_INSTANCES = """\
both = [start(world), start(world)]
for k, lmp in enumerate(both):
    lmp.file(f"in.{k}")
both[0].command("run 0")  # the other one was busy in between
energies = [lmp.get_thermo("pe") for lmp in both]
for lmp in both:
    lmp.close()
if world.rank == 0:
    for k, energy in enumerate(energies):
        print("energy", k, float(energy), flush=True)
"""

# One rank holds both of the atoms that fail; every rank must learn of it, and go on.
ERROR = """\
lmp = start(world)
lmp.file("in.0")
lmp.command("group pair id 1 2")
lmp.command("set group pair x 3.0 y 3.0 z 3.0")
try:
    lmp.command("run 0")
    outcome = "went well"
except Exception as error:
    outcome = str(error)
outcomes = world.gather(outcome)
if world.rank == 0:
    print(sum("atom ID" in outcome for outcome in outcomes), "ranks know", flush=True)
"""

# The last rank may take a little more memory than it has; its block of all atoms needs much more.
OUT_OF_MEMORY = """\
import resource
lmp = start(world)
lmp.file("in.0")
lmp.commands_string("replicate 4 4 16\\nrun 0 post no")
lmp.command("pair_style allegro block 500000000")
lmp.command("pair_coeff * * {archive} Si O H")
if world.rank == world.size - 1:
    unlimited = resource.getrlimit(resource.RLIMIT_AS)[1]
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**21, unlimited))
try:
    lmp.command("run 0")
    outcome = "went well"
except Exception as error:
    outcome = str(error)
if world.rank == world.size - 1:
    resource.setrlimit(resource.RLIMIT_AS, (unlimited, unlimited))
outcomes = world.gather(outcome)
if world.rank == 0:
    known = ["step 5: out of memory; use more ranks, or smaller blocks" in outcome for outcome in outcomes]
    print(sum(known), "ranks know", outcomes, flush=True)
"""


@pytest.fixture(scope="module")
def expected(archives, triclinic_silica, tmp_path_factory):
    """Energies after the run with float64 and with float32 weights, as one plain run finds them."""
    energies = []
    for dtype in ("float64", "float32"):
        folder = tmp_path_factory.mktemp(dtype)
        pair = pair_allegro(archives[dtype], TYPE_NAMES) + "\ntimestep 0.0002"
        energies.append(run_lammps(folder, triclinic_silica, TYPE_NAMES, pair, steps=5).energy)
    return np.array(energies)


@pytest.fixture
def folder(archives, triclinic_silica, tmp_path):
    """With in.0 and in.1: the same system with either archive."""
    write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
    for k, dtype in enumerate(("float64", "float32")):
        (tmp_path / f"in.{k}").write_text(INPUT.format(pair=pair_allegro(archives[dtype], TYPE_NAMES)))
    return tmp_path


def run_python(folder, text: str, ranks: int, timeout: float = 120) -> str:
    (folder / "script.py").write_text(PYTHON + text)
    command = [str(MPIEXEC), "-n", str(ranks), sys.executable, "-m", "mpi4py", "script.py"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return run.stdout


def energies_in(output: str) -> np.ndarray:
    words = sorted(line.split()[1:] for line in output.splitlines() if line.startswith("energy"))
    return np.array([float(energy) for _, energy in words])


def test_two_communicators_run_two_systems_at_once(folder, expected):
    found = energies_in(run_python(folder, TWO_COMMUNICATORS, 4))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_part_of_the_world_is_enough(folder, expected):
    found = energies_in(run_python(folder, PART_OF_THE_WORLD, 3))
    np.testing.assert_allclose(found, expected[:1], rtol=1e-10)


@pytest.mark.parametrize("ranks", (1, 2))
def test_two_instances_in_one_process(ranks, folder, expected):
    found = energies_in(run_python(folder, TWO_INSTANCES, ranks))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_an_error_reaches_python_on_every_rank(folder):
    assert "2 ranks know" in run_python(folder, ERROR, 2)


@pytest.mark.parametrize("ranks", (1, 2))
def test_out_of_memory_is_told_on_every_rank(ranks, folder, archives):
    script = OUT_OF_MEMORY.format(archive=archives["float64"])
    assert f"{ranks} ranks know" in run_python(folder, script, ranks)


def test_partitions_run_two_systems_at_once(folder, expected, archives):
    text = (folder / "in.0").read_text().replace(str(archives["float64"]), "${archive}")
    head = f"variable archive world {archives['float64']} {archives['float32']}\n"
    (folder / "in.both").write_text(head + text + 'print "energy $(c_thermo_pe:%.17g)"\n')
    lmp = lmp_command(["-in", "in.both", "-partition", "2x2"])
    environment = lmp_environment(os.environ)
    run = subprocess.run([str(MPIEXEC), "-n", "4", *lmp], cwd=folder, env=environment, capture_output=True, text=True,
                         timeout=120)  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    logs = [(folder / f"log.lammps.{k}").read_text() for k in (0, 1)]
    found = [float(line.split()[1]) for log in logs for line in log.splitlines() if line.startswith("energy ")]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
