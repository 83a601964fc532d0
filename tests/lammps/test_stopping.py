"""SIGINT and SIGTERM end a run after its step: files are whole, the input goes on without its later runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from allegro_dist.simulate.lammps_runtime import lmp_command, lmp_environment
from tests.conftest import TYPE_NAMES
from tests.lammps.lammps_run import MPIEXEC, pair_allegro, ranks_of, write_data

INPUT = """\
units metal
box tilt large
read_data structure.data
{pair}
timestep 0.0001
fix move all nve
dump path all custom 1 path.dump id x y z
thermo 1
thermo_modify flush yes
{run}
write_data end.data
run 1000000
print "end of the input"
"""
LONG = {"run": "run 1000000", "minimize": "min_modify dmax 1e-9\nminimize 0 0 1000000 1000000"}

PYTHON = """\
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
from allegro_dist.simulate.lammps_runtime import import_lammps, load_plugin
lmp = import_lammps().lammps(cmdargs=["-screen", "none", "-log", "none"])
load_plugin(lmp)
lmp.commands_string(open("in.test").read().partition("dump")[0] + "run 0")
try:
    os.kill(os.getpid(), signal.SIGINT)
except KeyboardInterrupt:
    print("Python's own")
os.kill(os.getpid(), signal.SIGTERM)
"""


def start(folder, atoms, archive, run: str) -> subprocess.Popen:
    """A two-rank run that has come to its third step."""
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    (folder / "in.test").write_text(INPUT.format(pair=pair_allegro(archive, TYPE_NAMES), run=LONG[run]))
    command = [str(MPIEXEC), "-n", "2", *lmp_command(["-in", "in.test", "-log", "log.test"])]
    output = (folder / "output").open("w")
    process = subprocess.Popen(command, cwd=folder, env=lmp_environment(os.environ), stdout=output, stderr=output)
    for _ in range(600):
        if re.search(r"^ +3 ", (folder / "output").read_text(), re.MULTILINE):
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError((folder / "output").read_text())


def assert_files_are_whole(folder, num_atoms) -> None:
    output = (folder / "output").read_text()
    step = int(re.search(r"stopped by a signal at step (\d+); later runs are skipped", output)[1])
    assert "end of the input" in output and "ERROR" not in output
    assert "Loop time of" in output and output.count("Loop time of") == 1
    lines = (folder / "path.dump").read_text().splitlines()
    snapshots = np.array(lines).reshape(-1, num_atoms + 9)
    assert [int(line) for line in snapshots[:, 1]] == list(range(step + 1))
    assert all(len(line.split()) == 4 for line in snapshots[-1, 9:])
    assert f"timestep = {step}" in (folder / "end.data").read_text()


@pytest.mark.parametrize("run, number, receivers", [
    ("run", signal.SIGTERM, "one rank"), ("run", signal.SIGINT, "every rank"), ("run", signal.SIGINT, "mpiexec"),
    ("minimize", signal.SIGTERM, "every rank"),
])  # fmt: skip
def test_signal_ends_the_run_and_leaves_files_whole(run, number, receivers, archives, triclinic_silica, tmp_path):
    process = start(tmp_path, triclinic_silica, archives["float64"], run)
    ranks = ranks_of(process.pid)
    targets = {"one rank": ranks[1:], "every rank": ranks, "mpiexec": [process.pid]}[receivers]
    for pid in targets:
        os.kill(pid, number)
    process.wait(timeout=120)
    assert_files_are_whole(tmp_path, len(triclinic_silica))


def test_second_signal_ends_the_program(archives, triclinic_silica, tmp_path):
    process = start(tmp_path, triclinic_silica, archives["float64"], "run")
    one, other = ranks_of(process.pid)
    os.kill(other, signal.SIGSTOP)  # the step, which needs both ranks, does not end
    for _ in range(2):
        os.kill(one, signal.SIGTERM)
        time.sleep(0.5)
    assert process.wait(timeout=120) != 0


def test_programs_that_treat_signals_keep_their_ways(archives, triclinic_silica, tmp_path):
    write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
    (tmp_path / "in.test").write_text(INPUT.format(pair=pair_allegro(archives["float64"], TYPE_NAMES), run=""))
    run = subprocess.run([sys.executable, "-c", PYTHON], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "Python's own" in run.stdout, run.stderr
    assert run.returncode == -signal.SIGTERM
