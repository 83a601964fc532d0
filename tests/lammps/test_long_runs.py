"""20,000 steps of 1,000 atoms, NVT and NPT: killed, continued, restarted, balanced, and memory stays flat."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from allegro_dist.simulate.lammps_runtime import lmp_command, lmp_environment
from tests.lammps.lammps_run import MPIEXEC
from tests.lammps.test_stopping import ranks_of

ARCHIVE = Path(__file__).parents[2] / "examples/silicon/si.pth"
NUM_STEPS, RESTART_EVERY = 20000, 2500

SETUP = """\
units metal
lattice diamond 5.43
region box prism 0 5 0 5 0 5 0.02 0.01 0.0
create_box 1 box
create_atoms 1 box
mass 1 28.0855
{pair}
velocity all create 600 4711
reset_timestep 0
{motion}
run {half} upto
clear
{again}
"""
AGAIN = """\
read_restart {restart}
{pair}
{motion}
run {end} upto
write_data end.data
"""
MOTION = """\
fix even all balance 1000 1.02 shift xyz 10 1.02
fix move all {ensemble}
timestep 0.001
thermo 100
thermo_style custom step temp pe press vol econserve
thermo_modify format float %.15g flush yes
restart {every} run.*.restart
"""
ENSEMBLES = {"nvt": "nvt temp 300 300 0.1", "npt": "npt temp 300 300 0.1 tri 0 0 1.0"}


def write_inputs(folder: Path, ensemble: str) -> None:
    common = {
        "pair": f"pair_style allegro\npair_coeff * * {ARCHIVE} Si",
        "motion": MOTION.format(ensemble=ENSEMBLES[ensemble], every=RESTART_EVERY),
    }
    half = NUM_STEPS // 2
    again = AGAIN.format(restart=f"run.{half}.restart", end=NUM_STEPS, **common)
    (folder / "in.whole").write_text(SETUP.format(half=half, again=again, **common))


def write_continuation(folder: Path, ensemble: str) -> int:
    """The input that goes on from the last restart file; its step."""
    write_inputs(folder, ensemble)
    step = max(int(path.name.split(".")[1]) for path in folder.glob("run.*.restart"))
    text = (folder / "in.whole").read_text()
    goes_on = text.split("clear\n")[1].replace(f"run.{NUM_STEPS // 2}.restart", f"run.{step}.restart")
    (folder / "in.rest").write_text(goes_on)
    return step


class Run:
    """A run on two ranks, with what its ranks take of memory as it goes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.output = folder / f"{name}.out"
        command = [str(MPIEXEC), "-n", "2", *lmp_command(["-in", f"in.{name}", "-log", "none"])]
        environment = lmp_environment(os.environ | {"OMP_NUM_THREADS": "1"})
        with self.output.open("w") as output:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        self.resident: list[int] = []  # bytes of all ranks, every two seconds

    def thermo(self) -> np.ndarray:
        """[steps, columns] of the output so far."""
        rows = re.findall(r"^ +\d+(?: +-?[\d.e+-]+){5} *$", self.output.read_text(), re.MULTILINE)
        return np.array([row.split() for row in rows], dtype=float).reshape(-1, 6)

    def wait(self, until_step: int) -> None:
        """Until a step is printed, or the end."""
        while self.process.poll() is None:
            thermo = self.thermo()
            if len(thermo) and thermo[-1, 0] >= until_step:
                return
            if len(thermo) > 2:
                self.resident.append(sum(self._resident(pid) for pid in ranks_of(self.process.pid)))
            time.sleep(2.0)

    @staticmethod
    def _resident(pid: int) -> int:
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        except OSError:  # it has just ended
            return 0


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_twenty_thousand_steps_with_a_kill_and_restarts(ensemble, tmp_path):
    write_inputs(tmp_path, ensemble)
    first = Run(tmp_path, "whole")
    first.wait(until_step=int(2.2 * RESTART_EVERY))
    for pid in ranks_of(first.process.pid):
        os.kill(pid, 9)
    first.process.wait()
    killed = first.thermo()

    step = write_continuation(tmp_path, ensemble)
    assert 0 < step <= killed[-1, 0] < NUM_STEPS
    second = Run(tmp_path, "rest")
    second.wait(until_step=10 * NUM_STEPS)
    assert second.process.wait() == 0, second.output.read_text()[-2000:]
    thermo = second.thermo()
    assert thermo[-1, 0] == NUM_STEPS and (tmp_path / "end.data").exists()
    # The run goes on where it was: energy, pressure and the conserved quantity (whose sum LAMMPS starts anew for the
    # barostat's part) at the step of the restart file.
    before, after = killed[killed[:, 0] == step][0], thermo[thermo[:, 0] == step][0]
    np.testing.assert_allclose(after[[1, 2, 4]], before[[1, 2, 4]], rtol=1e-9)
    np.testing.assert_allclose(after[5], before[5], rtol=0, atol=1e-6 * abs(before[5]))
    # No heating, no drift: k_B T per degree of freedom is 0.026 eV, and 1,000 atoms have 3,000.
    assert abs(thermo[-1, 5] - killed[5, 5]) < 0.5
    assert np.isfinite(thermo).all() and 200 < thermo[len(thermo) // 2 :, 1].mean() < 400
    # Memory: the second half takes no more than the first tenth, but for buffers that LAMMPS grows with its ghosts.
    resident = np.array([size for size in second.resident if size])
    tenth = max(1, len(resident) // 10)
    assert resident[-tenth:].max() < resident[:tenth].max() + 4e6
    megabytes = f"{resident[:tenth].max() / 1e6:.1f} -> {resident[-tenth:].max() / 1e6:.1f} MB on both ranks"
    print(f"{ensemble}: killed at {killed[-1, 0]:.0f}; {killed[5, 5]:.6f} -> {thermo[-1, 5]:.6f} eV; {megabytes}")
