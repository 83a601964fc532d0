"""Where a SLURM runs that takes jobs of two tasks: its tasks are ranks, its signals stop with a checkpoint, its arrays
label.  `pytest -m slow tests/test_slurm.py`; jobs wait for their turn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from allegro_dist.simulate.checkpoint import read_checkpoint
from allegro_dist.simulate.folder import read_folder
from tests.learn.loops import ROOT, labelled_copper, write_settings
from tests.simulate import simulations
from tests.training import ranks

PROGRAM = [sys.executable, "-m", "allegro_dist.cli"]


def controller_answers() -> bool:
    return shutil.which("sinfo") is not None and subprocess.run(["sinfo"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not controller_answers(), reason="no SLURM is running here")]


def srun(*arguments: str, folder: Path = ROOT) -> subprocess.Popen[str]:
    """Two tasks of a job of their own."""
    command = ["srun", "--ntasks=2", "--nodes=1", "--job-name=allegro-test", *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=ranks.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_tasks_of_srun_are_the_ranks_of_one_simulation(tmp_path):
    """The thermo output is that of mpiexec to the last digit."""
    settings = [simulations.write_settings(tmp_path / name) for name in ("mpiexec", "srun")]
    simulations.run(settings[0], ranks=2)
    task = srun("--mpi=pmi2", *PROGRAM, "simulate", str(settings[1]), folder=settings[1].parent)
    output, _ = task.communicate()
    assert task.returncode == 0, output
    found = [(tmp_path / name / "run" / "thermo.csv").read_text() for name in ("mpiexec", "srun")]
    assert found[0] == found[1]


def test_simulation_of_tasks_that_know_nothing_of_one_another_is_refused(tmp_path):
    settings = simulations.write_settings(tmp_path)
    task = srun("--mpi=none", *PROGRAM, "simulate", str(settings), folder=tmp_path)
    output, _ = task.communicate()
    assert task.returncode == 2 and "srun --mpi=pmi2" in output
    assert not (tmp_path / "run").exists()


def test_signal_to_the_tasks_leaves_a_checkpoint(tmp_path):
    """As --signal=TERM@120 sends it before the time limit."""
    endless = [{"stage": "nve", "steps": 10**7}]
    settings = simulations.write_settings(tmp_path, stages=endless, checkpoint_every=10**6)
    task = srun("--mpi=pmi2", *PROGRAM, "simulate", str(settings), folder=tmp_path)
    thermo = tmp_path / "run" / "log.lammps"
    while not (thermo.exists() and "Step" in thermo.read_text()):
        assert task.poll() is None
        time.sleep(0.2)
    subprocess.run(["scancel", "--signal=TERM", "--name=allegro-test"], check=True)
    output, _ = task.communicate()
    assert task.returncode == 143, output
    checkpoint = read_checkpoint(tmp_path / "run")
    assert checkpoint is not None and checkpoint.step > 0 and not read_folder(tmp_path / "run").finished


def test_training_of_two_tasks_has_the_losses_of_one_process(tmp_path):
    from ase.io import write

    write(tmp_path / "frames.xyz", [labelled_copper(seed) for seed in range(12)])
    small = [
        f"data.train={tmp_path / 'frames.xyz'}", "data.val=0.25", "training.max_epochs=3", "training.batch_size=4",
        "model.dtype=float64", "model.r_max=3.5", "model.l_max=1", "model.num_layers=1",
    ]  # fmt: skip
    losses = {}
    for name, launcher in (("one", []), ("two", ["srun", "--ntasks=2", "--nodes=1"])):
        command = [*launcher, *PROGRAM, "train", *small, f"run.dir={tmp_path / name}"]
        subprocess.run(command, cwd=ROOT, env=ranks.environment(), check=True)
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses[name] = [json.loads(line)["train"]["loss"] for line in lines]
    assert_allclose(losses["two"], losses["one"], rtol=1e-6)


def test_learning_loop_is_labelled_by_job_arrays(tmp_path):
    script = tmp_path / "label.sh"
    command = " ".join([*PROGRAM, "learn", "label", '"$@"', "--index", '"$SLURM_ARRAY_TASK_ID"'])
    script.write_text(f"#!/bin/bash\n{command}\n")
    submit = f"sbatch --wait --output={tmp_path}/%a.out --array={{indices}} {script} {tmp_path / 'loop'}/config.yaml"
    settings = write_settings(tmp_path, labelled=False, label={"mode": "array", "submit": submit})
    subprocess.run([*PROGRAM, "learn", str(settings)], cwd=ROOT, env=ranks.environment(), check=True)
    record = [json.loads(line) for line in (tmp_path / "loop" / "record.jsonl").read_text().splitlines()]
    assert [r["labelled"] for r in record if r["step"] == "label"] == [4, 2]
