"""Labels: the calculator's own numbers, or a record of why there are none; each frame is done once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from numpy.testing import assert_allclose

from allegro_dist.cli import main
from allegro_dist.config import ConfigError, from_dict
from allegro_dist.learn.labeller import label_frame
from allegro_dist.learn.labelling import LABELLED, WaitsForLabels, label_batch, ranges
from allegro_dist.learn.labels import Batch, open_batch, read_frame, write_batch
from allegro_dist.learn.processes import LearningError, Processes
from allegro_dist.learn.settings import LabelSettings
from tests.learn.loops import ROOT, copper, write_settings

FAULTY = "tests.learn.calculators:Faulty"
STILLINGER_WEBER = {
    "calculator": "lammps",
    "settings": {"commands": ["pair_style sw", "pair_coeff * * Si.sw Si"]},
    "files": {"Si.sw": "Si Si Si 2.1683 2.0951 1.8 21.0 1.2 -0.333333333333 7.049556277 0.6022245584 4.0 0.0 0.0\n"},
}


def settings(**values) -> LabelSettings:
    return from_dict(LabelSettings, {"calculator": "emt", **values})


def faulty(fault: str, **values) -> LabelSettings:
    return settings(calculator=FAULTY, settings={"fault": fault}, **values)


@pytest.fixture
def batch(tmp_path) -> Batch:
    return write_batch(tmp_path / "start", [copper(seed) for seed in range(3)])


def test_label_is_what_the_calculator_says(batch):
    label_frame(settings(), batch, 1)
    atoms, found = copper(1), read_frame(batch.label_folder(1).label)
    atoms.calc = EMT()
    assert found.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-7)
    assert_allclose(found.get_forces(), atoms.get_forces(), atol=1e-7)
    assert_allclose(found.get_stress(), atoms.get_stress(), atol=1e-8)


def test_lammps_labels_with_a_potential_given_in_the_settings(tmp_path):
    """Silicon's cohesive energy by Stillinger and Weber is what their units are made for."""
    crystal = bulk("Si", "diamond", a=5.431, cubic=True)
    label_frame(settings(**STILLINGER_WEBER), batch := write_batch(tmp_path / "start", [crystal]), 0)
    found = read_frame(batch.label_folder(0).label)
    assert found.get_potential_energy() / 8 == pytest.approx(-4.3366, abs=1e-3)
    assert np.abs(found.get_stress()).max() < 1e-3


def test_free_energy_is_taken_where_there_is_one(batch):
    """Its derivatives are the forces of smeared electrons."""
    label_frame(settings(), batch, 0)
    plain = read_frame(batch.label_folder(0).label).get_potential_energy()
    batch.label_folder(0).label.unlink()
    label_frame(faulty("free energy"), batch, 0)
    assert read_frame(batch.label_folder(0).label).get_potential_energy() == pytest.approx(plain - 1, abs=1e-6)


def test_energy_counts_from_the_zero_of_the_settings(batch):
    label_frame(settings(energy_shift={"Cu": 0.25, "Si": 9.0}), batch, 0)
    atoms, found = copper(0), read_frame(batch.label_folder(0).label)
    atoms.calc = EMT()
    shifted = atoms.get_potential_energy() + 0.25 * len(atoms)
    assert found.get_potential_energy() == pytest.approx(shifted, abs=1e-7)
    assert_allclose(found.get_forces(), atoms.get_forces(), atol=1e-7)


@pytest.mark.parametrize(
    "fault, reason",
    [
        ("error", "RuntimeError: the density did not converge"),
        ("not finite", "forces is not finite"),
        ("not converged", "the calculator says that it has not converged"),
    ],
)
def test_failure_is_recorded_and_tried_again_as_often_as_the_rule_says(batch, fault, reason):
    for _ in range(4):
        label_frame(faulty(fault, retries=1), batch, 0)
    outcome = batch.label_folder(0).outcome(retries=1)
    assert (outcome.state, outcome.trials) == ("failed", 2)
    assert reason in outcome.reason


def test_trial_that_is_repeated_has_its_own_settings(batch):
    changed = faulty("error", retries=1, retry_settings={"fault": ""})
    label_frame(changed, batch, 0)
    assert batch.label_folder(0).outcome(1).state == "waiting"
    label_frame(changed, batch, 0)
    assert batch.label_folder(0).outcome(1).state == "labelled"


def test_force_above_the_ceiling_is_refused_at_once(batch):
    label_frame(settings(max_force=1e-3, retries=5), batch, 0)
    outcome = batch.label_folder(0).outcome(5)
    assert (outcome.state, outcome.trials) == ("refused", 1)
    assert "eV/A, above max_force = 0.001" in outcome.reason


def test_calculation_that_takes_too_long_has_failed(batch):
    slow = settings(calculator=FAULTY, settings={"seconds": 60}, max_minutes=0.2 / 60, retries=0)
    label_frame(slow, batch, 0)
    assert "not done after" in batch.label_folder(0).outcome(0).reason


def test_program_of_the_calculator_ends_with_the_process_that_labels(batch, config):
    words = [f"label.calculator={FAULTY}", "label.settings.fault=program"]
    command = [sys.executable, "-m", "allegro_dist.cli", "learn", "label", str(config), *words, "--index", "0"]
    process = subprocess.Popen(command, cwd=ROOT)
    file = batch.label_folder(0).path / "trial-0" / "program.pid"
    wait_until(lambda: file.exists() and file.read_text(), process)
    process.terminate()
    assert process.wait() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)
    assert batch.outcomes(1)[0].state == "waiting"


def test_label_that_is_there_is_not_made_again(batch):
    label_frame(settings(), batch, 0)
    before = batch.label_folder(0).label.stat().st_mtime_ns
    label_frame(settings(), batch, 0)
    assert batch.label_folder(0).label.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "values, message",
    [
        ({"calculator": "espreso"}, "unknown calculator 'espreso'; did you mean 'espresso'?"),
        ({"calculator": "nowhere:Class"}, "'nowhere:Class': No module named 'nowhere'"),
        ({"calculator": "ase.calculators.emt:ETM"}, "has no attribute 'ETM'"),
        ({"calculator": FAULTY, "settings": {"depth": 3}}, "can't be made of ['depth']"),
    ],
)
def test_calculator_that_can_t_be_made_is_an_error(batch, values, message):
    with pytest.raises(ConfigError) as error:
        label_frame(settings(**values), batch, 0)
    assert message in str(error.value)
    assert batch.label_folder(0).outcome(0).trials == 0


def test_espresso_is_made_of_plain_settings(tmp_path):
    from allegro_dist.learn.calculators import make_calculator

    calculator = make_calculator(
        "espresso", {"command": "mpirun pw.x", "pseudo_dir": "/nowhere", "pseudopotentials": {"Si": "Si.upf"}}
    )
    assert calculator.profile.command == "mpirun pw.x"
    assert calculator.parameters["pseudopotentials"] == {"Si": "Si.upf"}


# --- a batch ---------------------------------------------------------------------------------------------------------


def label_all(values: LabelSettings, batch: Batch, config: Path, *overrides: str) -> dict:
    """As the loop labels a batch: in processes of their own."""
    with open(os.devnull) as lock, Processes(lock.fileno()) as processes:
        return label_batch(values, batch, ["learn", "label", str(config), *overrides], processes)


@pytest.fixture
def config(tmp_path) -> Path:
    """learn.yaml of the loop in whose folder `batch` lies."""
    return write_settings(tmp_path, dir=str(tmp_path))


def test_batch_gathers_its_labels_in_order(batch, config):
    record = label_all(settings(processes=2, chunk=2), batch, config)
    assert (record["labelled"], record["failed"], record["trials"]) == (3, 0, 3)
    frames = read(batch.folder / LABELLED, ":")
    for seed, atoms in enumerate(frames):
        assert_allclose(atoms.positions, copper(seed).positions, atol=1e-7)
        assert atoms.calc.results["forces"].shape == (8, 3)


def test_process_that_dies_is_a_failure_of_the_frame_that_it_was_at(batch, config):
    label_frame(settings(), batch, 0)
    overrides = [f"label.calculator={FAULTY}", "label.settings.fault=crash", "label.retries=0"]
    record = label_all(settings(retries=0, max_failed=0.7, chunk=2), batch, config, *overrides)
    assert (record["labelled"], record["failed"]) == (1, 2)
    assert "the process ended with signal 11" in record["without_label"][0]["reason"]


def test_too_many_failures_stop_the_loop_with_the_first_reason(batch, config):
    for number in range(3):
        label_frame(faulty("error", retries=0), batch, number)
    with pytest.raises(LearningError) as error:
        label_all(settings(retries=0), batch, config)
    assert "3 of 3 frames of" in str(error.value)
    assert "number 0, was failed: RuntimeError: the density did not converge" in str(error.value)


def test_array_says_which_frames_wait_until_they_are_labelled(batch, config, capsys):
    array = settings(mode="array")
    label_frame(array, batch, 1)
    with pytest.raises(WaitsForLabels) as waiting:
        label_all(array, batch, config)
    assert f"allegro-dist learn label {config} --index I` for I = 0,2" in str(waiting.value)
    for number in (0, 2):
        assert main(["learn", "label", str(config), "--index", str(number)]) == 0
    assert label_all(array, batch, config)["labelled"] == 3


def test_array_is_submitted_where_the_settings_say_how(batch, config):
    label = f"{sys.executable} -m allegro_dist.cli learn label {config} --index $i"
    line = f"test {{indices}} = 0-2 && for i in $(seq {{first}} {{last}}); do {label}; done"
    assert label_all(settings(mode="array", submit=line), batch, config)["labelled"] == 3


def test_submission_that_fails_is_an_error(batch, config):
    with pytest.raises(LearningError, match="`echo no partition; false` ended with exit code 1: no partition"):
        label_all(settings(mode="array", submit="echo no partition; false"), batch, config)


def array_of(config: Path, *overrides: str) -> str:
    """A submission that labels one frame after another, each in a process of its own; 1 where one of them failed."""
    label = f"{sys.executable} -m allegro_dist.cli learn label {config} {' '.join(overrides)} --index $i"
    return f"code=0; for i in $(seq {{first}} {{last}}); do {label} || code=1; done; exit $code"


def test_task_of_an_array_that_dies_is_a_failure_of_its_frame(batch, config):
    line = array_of(config, f"label.calculator={FAULTY}", "label.settings.fault=crash", "label.retries=1")
    label_frame(settings(), batch, 0)
    label_frame(settings(), batch, 2)
    record = label_all(settings(mode="array", submit=line, retries=1), batch, config)
    assert (record["labelled"], record["failed"], record["trials"]) == (2, 1, 4)
    assert "its task of the job array ended without a result" in record["without_label"][0]["reason"]


def test_array_that_never_began_is_no_failure_of_its_frames(batch, config):
    """As when it is cancelled: `sbatch --wait` ends with 0."""
    batch.label_folder(0).empty_trial()  # left by a loop that was killed
    with pytest.raises(WaitsForLabels, match="3 of 3 frames wait"):
        label_all(settings(mode="array", submit="true"), batch, config)
    assert [o.trials for o in batch.outcomes(retries=1)] == [0, 0, 0]


def test_frame_at_which_another_process_is_at_work_waits_for_it(batch):
    """As when a loop was killed while its array ran, and has submitted another."""
    folder, atoms = batch.label_folder(0), copper(0)
    atoms.calc = SinglePointCalculator(atoms, energy=42.0, forces=np.zeros((8, 3)))
    atoms.info["label_seconds"] = 1.0
    second = threading.Thread(target=label_frame, args=(settings(), batch, 0))
    with folder.held():
        second.start()
        second.join(0.5)
        assert second.is_alive()
        folder.record_label(atoms)
    second.join(30)
    assert read_frame(folder.label).get_potential_energy() == 42.0 and folder.begun() is None


@pytest.mark.parametrize("numbers, text", [([0], "0"), ([0, 1, 2, 5, 7, 8], "0-2,5,7-8")])
def test_ranges_are_those_of_slurm(numbers, text):
    assert ranges(numbers) == text


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["label", "CONFIG", "--index", "3"], "--index 3:"),
        (["label", "CONFIG"], "'label' and '--index' go together"),
        (["CONFIG", "--index", "0"], "'label' and '--index' go together"),
    ],
)
def test_label_command_that_makes_no_sense_is_refused(batch, config, capsys, arguments, message):
    assert main(["learn", *[str(config) if a == "CONFIG" else a for a in arguments]]) == 2
    assert message in capsys.readouterr().err


def test_label_command_without_frames_that_wait_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no frames wait for labels there"):
        open_batch(tmp_path)


def test_killed_while_it_labels_it_goes_on_with_what_is_not_labelled(tmp_path):
    """kill -9 to the loop alone: its processes end with it, and labels that are there stay."""
    slow = {"calculator": FAULTY, "settings": {"seconds": 0.5}, "chunk": 4}
    config = write_settings(tmp_path, labelled=False, label=slow)
    labels = tmp_path / "loop" / "start" / "labels"

    def labelled() -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in labels.glob("*/label.xyz")}

    process = start(config)
    wait_until(lambda: len(labelled()) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = labelled()
    assert len(before) < 4
    process = start(config)
    wait_until((tmp_path / "loop" / "start" / "label.json").exists, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    after = labelled()
    assert len(after) == 4 and before.items() <= after.items()


def start(config: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "allegro_dist.cli", "learn", str(config)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)


def wait_until(condition, process: subprocess.Popen[str], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)
