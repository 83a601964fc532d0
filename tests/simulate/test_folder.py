"""Folders of simulations: the stages' steps by LAMMPS's own log, and motion in a cell that breathes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from numpy.testing import assert_allclose, assert_array_equal

from allegro_dist.simulate.checkpoint import SimulationError, read_checkpoint
from allegro_dist.simulate.folder import motion, read_folder, read_trajectory
from allegro_dist.simulate.lammps_timings import timings_in
from tests.simulate.simulations import kill, run, start, wait_for_checkpoint, write_settings

STAGES = [
    {"stage": "minimize", "cell": "iso", "max_steps": 5},
    {"stage": "npt", "temperature": 600, "steps": 40, "timestep": 0.5},
    {"stage": "nve", "steps": 100},
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return run(write_settings(tmp_path_factory.mktemp("finished"), stages=STAGES, checkpoint_every=100))


def frame(step: int, cell: np.ndarray, fractions: np.ndarray) -> Atoms:
    atoms = Atoms("SiO", cell=cell, pbc=True, scaled_positions=fractions)
    atoms.positions = fractions @ cell  # not wrapped, as the constructor may
    atoms.info["step"] = step
    return atoms


def test_stages_have_the_steps_of_the_log(finished):
    runs = [timing.num_steps for timing in timings_in((finished / "log.lammps").read_text())]
    assert [stage.last for stage in read_folder(finished).stages] == list(np.cumsum(runs))


def test_frames_of_a_stage_are_those_after_the_one_before(finished):
    simulation = read_folder(finished)
    first = simulation.stages[1].last
    steps = [atoms.info["step"] for atoms in simulation.frames(simulation.stages[2])]
    everything = [atoms.info["step"] for atoms in read(finished / "trajectory.xyz", ":")]
    assert steps == [step for step in everything if step > first]


def test_frames_of_a_dump_are_those_of_extxyz(finished, tmp_path):
    dumped = run(write_settings(
        tmp_path, stages=STAGES, checkpoint_every=100, trajectory={"every": 4, "format": "lammps"}
    ))  # fmt: skip
    for a, b in zip(*(read_trajectory(f, read_checkpoint(f)) for f in (dumped, finished)), strict=True):
        assert a.info["step"] == b.info["step"]
        assert_allclose(a.positions, b.positions, atol=1e-7)
        assert_allclose(a.get_velocities(), b.get_velocities(), atol=1e-7)


def test_what_lammps_writes_into_a_finished_folder_later_is_not_the_simulation(finished, tmp_path):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    before = read_folder(folder)
    last_row = re.findall(r"^ *\d+(?: +\S+)+ *$", (folder / "log.lammps").read_text(), re.MULTILINE)[-1]
    with open(folder / "log.lammps", "a") as log:  # as `lmp -in in.lammps` may do
        log.write(last_row.replace(str(before.stages[-1].last), "1000000", 1) + "\n")
    assert_array_equal(read_folder(folder).thermo["step"], before.thermo["step"])


def test_timestep_of_a_stage_goes_before_that_of_the_simulation(finished):
    assert [stage.timestep for stage in read_folder(finished).stages[1:]] == pytest.approx([0.0005, 0.001])


def test_velocities_are_the_slope_of_positions(finished):
    simulation = read_folder(finished)
    nve = simulation.stages[2]
    moving = motion(list(simulation.frames(nve)), nve.timestep)
    slope = (moving.positions[2:] - moving.positions[:-2]) / (2 * moving.interval)
    assert np.corrcoef(slope.ravel(), moving.velocities[1:-1].ravel())[0, 1] > 0.99
    assert_allclose(slope.std(), moving.velocities.std(), rtol=0.1)


def test_cell_that_breathes_moves_no_atom():
    fractions = np.array([[7.3, 0.1, 0.2], [-4.4, 0.6, 3.8]])  # far from the box's origin: faces were crossed
    cells = [np.diag([8.0, 9.0, 10.0]) * (1 + 0.02 * np.sin(n)) for n in range(10)]
    moving = motion([frame(5 * n, cell, fractions) for n, cell in enumerate(cells)], 0.001)
    assert np.ptp(moving.positions, axis=0).max() < 1e-9


def test_frames_at_unequal_intervals_are_refused():
    frames = [frame(step, np.eye(3), np.zeros((2, 3))) for step in (0, 5, 15)]
    with pytest.raises(ValueError, match="frames at equal intervals are needed, got steps 0, 5, 15"):
        motion(frames, 0.001)


def test_folder_that_is_none_is_refused(tmp_path):
    with pytest.raises(SimulationError, match="not the folder of a simulation"):
        read_folder(tmp_path)


def test_checkpoint_of_another_version_is_refused_by_the_keys_that_differ(finished, tmp_path):
    values = json.loads((finished / "checkpoint.json").read_text())
    del values["grid"]
    (tmp_path / "checkpoint.json").write_text(json.dumps(values | {"ranks": 2}))
    with pytest.raises(SimulationError, match="got another [(]without grid; with unknown ranks[)]. Go on with the"):
        read_folder(tmp_path)


@pytest.mark.parametrize("text", ["", '{"config": {', "[]", '{"written": 1}'])
def test_checkpoint_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(SimulationError, match="expected a checkpoint of this version of allegro-dist, got another"):
        read_folder(tmp_path)


@pytest.mark.parametrize("form", ["extxyz", "lammps"])
def test_simulation_under_way_is_read_as_far_as_lammps_has_written(tmp_path, form):
    second = 140  # steps of the stages before
    settings = write_settings(
        tmp_path, stages=[*STAGES[1:], {"stage": "nve", "steps": 10**6}], checkpoint_every=70,
        trajectory={"every": 4, "format": form},
    )  # fmt: skip
    process = start(settings)
    folder = tmp_path / "run"
    wait_for_checkpoint(process, folder, lambda now: now.step >= second + 70)
    wait_for_thermo(process, folder, second + 100)
    kill(process)
    simulation = read_folder(folder)
    stage = simulation.stages[-1]
    assert (stage.number, stage.first) == (2, second + 1) and stage.last > read_checkpoint(folder).step
    assert_array_equal(simulation.thermo["step"], np.arange(0, stage.last + 1, 2))
    assert [a.info["step"] for a in simulation.frames(stage)] == list(range(144, stage.last + 1, 4))
    assert simulation.last_frame().info["step"] == max(a.info["step"] for a in simulation.frames(stage))


def test_simulation_is_read_before_its_first_checkpoint(tmp_path):
    settings = write_settings(tmp_path, stages=[{"stage": "nve", "steps": 10**6}], checkpoint_every=10**6)
    process = start(settings)
    wait_for_thermo(process, tmp_path / "run", 20)
    kill(process)
    simulation = read_folder(tmp_path / "run")
    (stage,) = simulation.stages
    assert stage.last >= 20 and not simulation.finished
    assert [a.info["step"] for a in simulation.frames(stage)] == list(range(0, stage.last + 1, 4))


def wait_for_thermo(process: subprocess.Popen[str], folder: Path, step: int) -> None:
    """Until LAMMPS has written a line for the step."""
    log = folder / "log.lammps"
    while not (log.exists() and re.search(rf"^ *{step} ", log.read_text(), re.MULTILINE)):
        assert process.poll() is None
        time.sleep(0.02)
