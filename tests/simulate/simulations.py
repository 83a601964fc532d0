"""Small simulations for tests: 64 silicon atoms with the committed archive, by the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from ase.build import bulk

from allegro_dist.simulate.checkpoint import Checkpoint, read_checkpoint
from tests.lammps.lammps_run import MPIEXEC, children_of, ranks_of

ARCHIVE = Path(__file__).resolve().parents[2] / "examples" / "silicon" / "si.pth"
COMMAND = [sys.executable, "-m", "allegro_dist.cli", "simulate"]
ALL_STAGES = [
    {"stage": "minimize", "cell": "iso", "max_steps": 5},
    {"stage": "nvt", "temperature": [300, 600], "steps": 15},
    {"stage": "npt", "temperature": 600, "coupling": "aniso", "steps": 10},
    {"stage": "langevin", "temperature": 600, "steps": 10},
    {"stage": "deform", "scale": {"x": 1.02}, "temperature": 600, "steps": 10},
    {"stage": "nve", "steps": 10},
    {"stage": "langevin", "temperature": 900, "atoms": [1, 32], "steps": 10},
    {"stage": "nph", "coupling": "z", "steps": 10},
]


def write_settings(folder: Path, **changes: Any) -> Path:
    """run.yaml of a simulation in folder/run, and its structure beside it."""
    folder.mkdir(exist_ok=True, parents=True)
    atoms = bulk("Si", "diamond", a=5.47, cubic=True)
    atoms.rattle(0.05, seed=1)
    atoms.write(folder / "silicon.xyz")
    values = {
        "structure": {"file": str(folder / "silicon.xyz"), "replicate": [2, 2, 2], "temperature": 600},
        "model": str(ARCHIVE),
        "dir": "run",
        "thermo_every": 2,
        "json_lines": True,
        "checkpoint_every": 6,
        "trajectory": {"every": 4},
        "record": {"stress": 2, "heat_flux": 3},
        "stages": ALL_STAGES,
    } | changes
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    return folder / "run.yaml"


def start(settings: Path, *arguments: str, ranks: int = 1) -> subprocess.Popen[str]:
    """`allegro-dist simulate` as a process of its own, in the folder of the settings."""
    launcher = [str(MPIEXEC), "-n", str(ranks)] if ranks > 1 else []
    return subprocess.Popen(
        [*launcher, *COMMAND, str(settings), *arguments],
        cwd=settings.parent, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(settings: Path, *arguments: str, ranks: int = 1) -> Path:
    """Run to the end; returns the simulation's folder."""
    process = start(settings, *arguments, ranks=ranks)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    return settings.parent / "run"


def wait_for_checkpoint(process: subprocess.Popen[str], folder: Path, reached: Callable[[Checkpoint], bool]) -> None:
    """Until there is one that has come so far; fails if the process ends before."""
    deadline = time.monotonic() + 120
    while (now := read_checkpoint(folder)) is None or not reached(now):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    """-9 to a process on its way; to mpiexec, its proxy and all ranks."""
    assert process.poll() is None
    for pid in [*ranks_of(process.pid), *children_of(process.pid), process.pid]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
