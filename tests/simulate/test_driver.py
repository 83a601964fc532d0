"""The driver against LAMMPS on the script that it writes, and against itself when it is killed on the way."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from ase.io import read
from numpy.testing import assert_allclose

from allegro_dist.simulate.calculator import AllegroCalculator
from allegro_dist.simulate.checkpoint import read_checkpoint
from allegro_dist.simulate.lammps_runtime import lammps_folder
from tests.lammps.lammps_run import ranks_of, start_lmp
from tests.simulate.simulations import ALL_STAGES, ARCHIVE, kill, run, start, wait_for_checkpoint, write_settings

NUM_COLUMNS = 20


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of an unbroken run of all stages on one rank."""
    return run(write_settings(tmp_path_factory.mktemp("finished")))


@pytest.fixture(scope="module")
def on_ranks(finished, tmp_path_factory) -> dict[int, Path]:
    """The same on one rank and on two."""
    return {1: finished, 2: run(write_settings(tmp_path_factory.mktemp("two")), ranks=2)}


def thermo_rows(log: str) -> list[list[str]]:
    """Of a LAMMPS log."""
    rows = [line.split() for line in log.splitlines()]
    return [row for row in rows if len(row) == NUM_COLUMNS and row[0].isdecimal()]


@pytest.mark.parametrize("ranks", [1, 2])
def test_input_script_gives_identical_thermo_output(on_ranks, tmp_path, ranks):
    folder = on_ranks[ranks]
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folder / "structure.data", alone)
    rows = thermo_rows(start_lmp(alone, (folder / "in.lammps").read_text(), ranks=ranks).stdout)
    assert rows == thermo_rows((folder / "log.lammps").read_text())
    assert len(rows) > 30


def test_thermo_has_every_line_once(finished):
    steps = np.loadtxt(finished / "thermo.csv", delimiter=",", skiprows=1)[:, 0]
    assert_allclose(steps, np.arange(0, steps[-1] + 1, 2))


def test_json_lines_are_those_of_the_table(finished):
    rows = [json.loads(line) for line in (finished / "thermo.jsonl").read_text().splitlines()]
    names, *lines = (line.split(",") for line in (finished / "thermo.csv").read_text().splitlines())
    assert rows == [dict(zip(names, map(float, line), strict=True)) for line in lines]


def test_recorded_series_have_every_line_of_dynamics_once(finished):
    first = first_step(finished)
    for name, every in (("stress.csv", 2), ("heat_flux.csv", 3)):
        steps = np.loadtxt(finished / name, delimiter=",", skiprows=1)[:, 0]
        steps = steps[steps >= first]
        assert_allclose(steps, np.arange(steps[0], first + 76, every))
        assert steps[0] < first + every


def test_recorded_stress_is_that_of_thermo(finished):
    """But while LAMMPS deforms the box: after the fix has written, before thermo does."""
    thermo = np.genfromtxt(finished / "thermo.csv", delimiter=",", names=True)
    stress = np.genfromtxt(finished / "stress.csv", delimiter=",", names=True)
    since = thermo["step"] - first_step(finished)
    common = np.isin(thermo["step"], stress["step"]) & (since > 0) & ((since <= 35) | (since > 45))
    assert common.sum() > 20
    for name in stress.dtype.names[1:]:
        recorded = dict(zip(stress["step"], stress[name], strict=True))
        assert_allclose(thermo[name][common], [recorded[step] for step in thermo["step"][common]], rtol=1e-9, atol=1e-6)


def first_step(folder: Path) -> int:
    """Where the dynamics begins, behind the minimization."""
    last = json.loads((folder / "checkpoint.json").read_text())["step"]
    return int(last) - sum(stage.get("steps", 0) for stage in ALL_STAGES)


def test_trajectory_has_the_archive_s_energies_and_forces(finished):
    """But while LAMMPS deforms the box, which it does between forces and output."""
    frames, first = read(finished / "trajectory.xyz", ":"), first_step(finished)
    assert [a.info["step"] for a in frames] == list(range(0, 4 * len(frames), 4))
    calculator = AllegroCalculator(ARCHIVE)
    for atoms in (a for a in frames if not first + 35 < a.info["step"] <= first + 45):
        moved = atoms.copy()
        moved.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(moved.get_potential_energy(), abs=1e-3)
        assert_allclose(atoms.get_forces(), moved.get_forces(), atol=1e-3)


def test_stages_do_what_they_say(finished):
    table = np.genfromtxt(finished / "thermo.csv", delimiter=",", names=True)
    first = first_step(finished)
    volume = dict(zip(table["step"].astype(int), table["volume_A3"]))
    length = dict(zip(table["step"].astype(int), table["lx_A"]))
    at = np.array(sorted(volume))
    nvt, nve = at[(at > first) & (at <= first + 15)], at[(at > first + 45) & (at <= first + 55)]
    assert len({volume[step] for step in nvt}) == 1 and len({volume[step] for step in nve}) == 1
    before, after = at[(at > first + 25) & (at <= first + 35)][-1], nve[-1]
    assert length[after] / length[before] == pytest.approx(1.02, rel=1e-9)
    energy = table["total_energy_eV"][np.isin(table["step"], nve)]
    assert np.ptp(energy) < 0.05


def test_atoms_that_are_left_out_stand_still(finished):
    first = first_step(finished)
    frames = [a for a in read(finished / "trajectory.xyz", ":") if first + 55 <= a.info["step"] <= first + 65]
    moved = np.ptp([atoms.positions for atoms in frames], axis=0).max(axis=1)
    assert (moved[:32] > 0).all() and (moved[32:] == 0).all()


def test_pressure_along_one_direction_changes_that_length_alone(finished):
    table = np.genfromtxt(finished / "thermo.csv", delimiter=",", names=True)
    rows = table[table["step"] > first_step(finished) + 65]
    assert len(rows) >= 4 and np.ptp(rows["lz_A"]) > 1e-5
    assert np.ptp(rows["lx_A"]) == np.ptp(rows["ly_A"]) == 0


def test_killed_on_its_way_it_ends_as_the_unbroken_run(finished, tmp_path):
    settings = write_settings(tmp_path)
    kill_at_random_moments(settings, 3)
    assert_outputs_are_those_of(finished, run(settings))


def test_two_ranks_go_on_behind_a_change_of_the_longest_side(on_ranks, tmp_path):
    """LAMMPS would give them other subdomains then."""
    settings = write_settings(tmp_path)
    process = start(settings, ranks=2)
    wait_for_checkpoint(process, tmp_path / "run", lambda now: now.stage == 4 and now.first is not None)
    kill(process)
    assert_outputs_are_those_of(on_ranks[2], run(settings, ranks=2))


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_at_ten_random_moments_it_ends_as_the_unbroken_run(tmp_path, ranks):
    stages = [stage | ({"steps": 10 * stage["steps"]} if "steps" in stage else {}) for stage in ALL_STAGES]
    unbroken, settings = (write_settings(tmp_path / name, stages=stages) for name in ("unbroken", "killed"))
    kill_at_random_moments(settings, 10, ranks)
    assert_outputs_are_those_of(run(unbroken, ranks=ranks), run(settings, ranks=ranks))


def kill_at_random_moments(settings: Path, times: int, ranks: int = 1) -> None:
    """Start and kill so often: in the second in which it starts, or shortly behind a checkpoint: it is to come on."""
    folder, draw = settings.parent / "run", random.Random(ranks)
    for number in range(times):
        before = read_checkpoint(folder)
        process = start(settings, ranks=ranks)
        if number % 3 == 0:
            time.sleep(draw.uniform(0, 1))
        else:
            wait_for_checkpoint(process, folder, lambda now, before=before: now != before)
            time.sleep(draw.uniform(0, 0.1))
        kill(process)


def assert_outputs_are_those_of(unbroken: Path, folder: Path) -> None:
    """To the last bit."""
    for name in ("thermo.csv", "thermo.jsonl", "stress.csv", "heat_flux.csv", "trajectory.xyz", "final.data"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes(), name


@pytest.mark.parametrize("ranks", [1, 2])
def test_terminated_it_leaves_a_checkpoint_and_goes_on(tmp_path, ranks):
    stages = [{"stage": "nve", "steps": 400}]
    settings = write_settings(tmp_path, stages=stages, checkpoint_every=100_000)
    process = start(settings, ranks=ranks)
    while not (tmp_path / "run" / "frames.part").exists() or (tmp_path / "run" / "frames.part").stat().st_size < 10_000:
        time.sleep(0.02)
    os.kill(process.pid if ranks == 1 else ranks_of(process.pid)[1], signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "the same command goes on" in errors
    step = json.loads((tmp_path / "run" / "checkpoint.json").read_text())["step"]
    assert 0 < step < 400
    run(settings, ranks=ranks)
    steps = np.loadtxt(tmp_path / "run" / "thermo.csv", delimiter=",", skiprows=1)[:, 0]
    assert_allclose(steps, np.arange(0, 401, 2))


NVE = [{"stage": "nve", "steps": 5000}]


@pytest.mark.parametrize("part, every", [("log.lammps: expected the line of step", 10**6), ("frames: File too", 4)])
def test_full_disk_ends_all_ranks_and_leaves_the_last_checkpoint(tmp_path, part, every):
    """Full where LAMMPS writes its log, or its dump; here by a limit to the size of files."""
    process = start(write_settings(tmp_path, stages=NVE, trajectory={"every": every}), ranks=2)
    wait_for_checkpoint(process, tmp_path / "run", lambda now: now.step > 0)
    for rank in ranks_of(process.pid):
        resource.prlimit(rank, resource.RLIMIT_FSIZE, (30_000, 30_000))
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0 and "Traceback" not in errors
    (told,) = (line for line in errors.splitlines() if "allegro-dist: " in line)
    assert part in told
    assert read_checkpoint(tmp_path / "run").step > 0


def test_folder_that_cannot_be_made_ends_all_ranks(tmp_path):
    (tmp_path / "run").write_text("a file")
    process = start(write_settings(tmp_path, stages=NVE), ranks=2)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2 and errors.strip() == f"allegro-dist: {tmp_path / 'run'}: File exists"


def test_position_that_is_no_number_is_refused_by_name(tmp_path):
    settings = write_settings(tmp_path, stages=NVE)
    structure = tmp_path / "silicon.xyz"
    atoms = read(structure)
    atoms.positions[3, 1] = np.nan
    atoms.write(structure)
    _, errors = start(settings).communicate(timeout=300)
    assert f"{structure}: positions is not finite: nan at [3, 1]" in errors


def test_finished_simulation_is_left_alone(finished):
    before = (finished / "thermo.csv").stat().st_mtime_ns
    run(finished.parent / "run.yaml")
    assert (finished / "thermo.csv").stat().st_mtime_ns == before


def test_two_ranks_give_the_first_thermo_lines_of_one(on_ranks):
    """Later ones part company: the last digits of a minimization and of random forces depend on the ranks."""
    one, two = (np.loadtxt(on_ranks[ranks] / "thermo.csv", delimiter=",", skiprows=1)[:4] for ranks in (1, 2))
    assert_allclose(two, one, rtol=1e-4, atol=1.0)


def test_two_ranks_record_what_one_does(tmp_path):
    folders = [
        run(write_settings(tmp_path / str(ranks), stages=[{"stage": "nve", "steps": 20}]), ranks=ranks)
        for ranks in (1, 2)
    ]
    for name, num_lines in (("stress.csv", 11), ("heat_flux.csv", 7)):
        one, two = (np.loadtxt(folder / name, delimiter=",", skiprows=1) for folder in folders)
        assert len(one) == num_lines
        assert_allclose(two, one, rtol=0, atol=1e-5 * np.abs(one[:, 1:]).max())


def test_rank_that_writes_frames_does_not_wait_for_the_others(tmp_path):
    """ASE's default under MPI is to pass on what is written: frames of this size hung."""
    structure = {"file": "silicon.xyz", "replicate": [8, 8, 8], "temperature": 600}
    settings = write_settings(tmp_path, structure=structure, stages=[{"stage": "nve", "steps": 4}])
    folder = run(settings, ranks=2)
    assert [len(atoms) for atoms in read(folder / "trajectory.xyz", ":")] == [4096, 4096]
    assert len(read(folder / "final.xyz")) == 4096


def test_committee_has_deviations_in_thermo_and_trajectory(tmp_path):
    shutil.copy(ARCHIVE, tmp_path / "other.pth")
    settings = write_settings(
        tmp_path, model=[str(ARCHIVE), str(tmp_path / "other.pth")], stages=[{"stage": "nve", "steps": 10}]
    )
    folder = run(settings)
    table = np.genfromtxt(folder / "thermo.csv", delimiter=",", names=True)
    assert_allclose(table["largest_deviation_eV_A"], 0, atol=1e-12)  # of one archive from itself
    assert all("deviation" in atoms.arrays for atoms in read(folder / "trajectory.xyz", ":"))


def test_potential_of_lammps_needs_no_archive(tmp_path):
    """Stillinger-Weber silicon at rest: two bonds per atom of 2.1683 eV each, 5.431 Angstrom."""
    commands = ["pair_style sw", f"pair_coeff * * {lammps_folder() / 'share/lammps/potentials/Si.sw'} Si"]
    structure = {"file": str(tmp_path / "silicon.xyz"), "replicate": [2, 2, 2]}
    settings = write_settings(
        tmp_path,
        model=None,
        commands=commands,
        record={},
        structure=structure,
        stages=[{"stage": "minimize", "cell": "iso"}, {"stage": "nve", "steps": 4}],
    )
    folder = run(settings)
    atoms = read(folder / "trajectory.xyz", "-1")
    assert atoms.get_potential_energy() / len(atoms) == pytest.approx(-2 * 2.1683, abs=1e-4)
    assert_allclose(atoms.cell.lengths(), 2 * 5.431, atol=1e-3)


def test_trajectory_as_lammps_writes_it(tmp_path):
    settings = write_settings(
        tmp_path,
        trajectory={"every": 5, "format": "lammps"},
        stages=[{"stage": "nve", "steps": 20}],
        checkpoint_every=7,
    )
    text = (run(settings) / "trajectory.dump").read_text()
    frames = read(tmp_path / "run" / "trajectory.dump", ":", format="lammps-dump-text")
    steps = [int(line) for line, above in zip(text.splitlines()[1:], text.splitlines()) if above == "ITEM: TIMESTEP"]
    assert steps == [0, 5, 10, 15, 20] and len(frames) == 5
