"""Every way to start LAMMPS finds MPI and the plugin, from an environment that names neither."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from allegro_dist.simulate.lammps_runtime import ForeignLauncherError, mpi_library, refuse_foreign_launcher
from tests.lammps.lammps_run import MPIEXEC

INPUT = """\
units metal
boundary p p p
region box block 0 12 0 12 0 12
create_box 2 box
create_atoms 1 single 3 3 3
create_atoms 2 single 3 3 7
mass * 40.0
pair_style allegro
pair_coeff * * {archive} Ar Kr
run 0
"""

PYTHON = """\
{imports}
from allegro_dist.simulate.lammps_runtime import import_lammps, load_plugin
lmp = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
load_plugin(lmp)
lmp.file("in.test")
import torch
assert torch.ones(3, 3, dtype=torch.float64).matmul(torch.ones(3, 3, dtype=torch.float64)).sum() == 27
copies = {{line.split()[-1] for line in open("/proc/self/maps") if "libtorch_cpu" in line}}
print("energy", lmp.get_thermo("pe"), "copies of torch", len(copies))
"""

BIN = Path(sys.prefix, "bin")


def start(folder, command, archive) -> str:
    (folder / "in.test").write_text(INPUT.format(archive=archive))
    hidden = ("LD_LIBRARY_PATH", "LAMMPS_PLUGIN_PATH", "LD_PRELOAD")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


COMMANDS = {
    "allegro-dist lmp": [BIN / "allegro-dist", "lmp", "-in", "in.test"],
    "allegro-dist lmp on two ranks": [MPIEXEC, "-n", "2", BIN / "allegro-dist", "lmp", "-in", "in.test"],
    "lmp": [BIN / "lmp", "-in", "in.test"],
    "lmp on two ranks": [MPIEXEC, "-n", "2", BIN / "lmp", "-in", "in.test"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_input_without_plugin_line_runs(name, lj_archive, tmp_path):
    text = start(tmp_path, COMMANDS[name], lj_archive)
    ranks = 2 if "two" in name else 1
    assert f"on {ranks} procs" in text
    assert text.count("self-check passed") == 1


@pytest.mark.parametrize("imports", ["", "import torch", "import torch; from mpi4py import MPI"])
def test_python_module_runs_beside_torch(imports, lj_archive, tmp_path):
    text = start(tmp_path, [sys.executable, "-c", PYTHON.format(imports=imports)], lj_archive)
    assert "energy" in text
    assert "copies of torch 1" in text


needs_mpich = pytest.mark.skipif(mpi_library() is None, reason="this LAMMPS has an MPI of its own")
STEP = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}


@needs_mpich
@pytest.mark.parametrize(
    "variables, message",
    [
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "uses MPICH but was started by Open MPI's mpirun; start it with .*/mpiexec"),
        (STEP, "srun started 2 tasks, but has not told MPICH.*srun --mpi=pmi2"),
        (STEP | {"PMIX_RANK": "0"}, "srun started 2 tasks, but has not told MPICH.*srun --mpi=pmi2"),
    ],
)
def test_launcher_that_leaves_each_rank_alone_is_refused(variables, message):
    with pytest.raises(ForeignLauncherError, match=message):
        refuse_foreign_launcher(variables)


@needs_mpich
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"},  # in a batch script
        STEP | {"SLURM_STEP_NUM_TASKS": "1"},
        STEP | {"PMI_RANK": "0", "PMI_SIZE": "2"},  # srun --mpi=pmi2
    ],
)
def test_launcher_that_mpich_knows_is_none_to_refuse(variables):
    refuse_foreign_launcher(variables)
