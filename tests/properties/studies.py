"""Small studies for tests: Stillinger-Weber silicon, as LAMMPS computes it, by the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from ase.build import bulk

from allegro_dist.simulate.lammps_runtime import lammps_folder
from tests.lammps.lammps_run import MPIEXEC

COMMAND = [sys.executable, "-m", "allegro_dist.cli", "properties"]
STILLINGER_WEBER = ["pair_style sw", f"pair_coeff * * {lammps_folder() / 'share/lammps/potentials/Si.sw'} Si"]
EXPANSION = {"temperatures": [150, 300], "replicate": [3, 3, 3], "steps": 6000, "discard": 0.3}
MELTING = {
    "guess": 1650, "replicate": [2, 2, 6], "warm_steps": 300, "melt_steps": 700, "cool_steps": 500,
    "settle_steps": 300, "steps": 600,
}  # fmt: skip


def write_study(folder: Path, **changes: Any) -> Path:
    """study.yaml of a study in folder/study, and its structure beside it."""
    bulk("Si", "diamond", a=5.4, cubic=True).write(folder / "silicon.xyz")
    values = {
        "structure": str(folder / "silicon.xyz"), "model": None, "commands": STILLINGER_WEBER,
        "dir": str(folder / "study"), "timestep": 2.0, "checkpoint_every": 500,
        "crystal": {"supercell": 10}, "expansion": EXPANSION, "melting": MELTING,
    } | changes  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(values))
    return folder / "study.yaml"


def start(settings: Path, ranks: int = 1) -> subprocess.Popen[str]:
    """`allegro-dist properties` as a process of its own."""
    launcher = [str(MPIEXEC), "-n", str(ranks)] if ranks > 1 else []
    return subprocess.Popen(
        [*launcher, *COMMAND, str(settings)], env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(settings: Path, ranks: int = 1, seconds: float = 300) -> Path:
    """Run to the end; returns the study's folder."""
    process = start(settings, ranks)
    output, errors = process.communicate(timeout=seconds)
    assert process.returncode == 0, output + errors
    return settings.parent / "study"
