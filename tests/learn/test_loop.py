"""A whole loop in small: what it leaves, and that one which dies anywhere ends as the unbroken one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from ase.io import read
from numpy.testing import assert_array_equal

from allegro_dist.cli import main
from allegro_dist.config import load, read_values
from allegro_dist.deploy.archive_file import read_model_card
from allegro_dist.learn import loop
from allegro_dist.learn.labels import LabelFolder
from allegro_dist.learn.processes import LearningError, Processes, only_one
from allegro_dist.learn.settings import read_learning
from allegro_dist.training import run
from allegro_dist.training.checkpoint import run_results
from tests.learn.loops import write_settings


class Died(Exception):  # noqa: N818
    """What kill -9 is to the tests."""


class InThisProcess(Processes):
    """Runs all but LAMMPS here, without the seconds that a process takes to start; dies after so many commands."""

    lives = 10**6
    commands: list[str]

    def run(self, arguments: Sequence[str], log: Path, launcher: str = "") -> int:
        outside = launcher or arguments[0] == "simulate"
        code = super().run(arguments, log, launcher) if outside else main(list(arguments))
        self._live(arguments[0])
        return code

    def run_all(self, jobs, at_once: int) -> list[int]:
        codes = []
        for _, arguments in jobs:
            codes.append(main(list(arguments)))
            self._live("label")
        return codes

    def _live(self, command: str) -> None:
        InThisProcess.commands.append(command)
        InThisProcess.lives -= 1
        if not InThisProcess.lives:
            raise Died


@pytest.fixture(scope="module")
def patched():
    """Also without the pictures of training runs, which take most of the time of runs as small as these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Processes", InThisProcess)
        for name in ("plot_parity", "plot_learning_curve"):
            patch.setattr(run, name, lambda *_: None)
        yield


def learn(config: Path, *overrides: str, lives: int = 10**6) -> list[str]:
    """Run a loop in this process; returns the commands that it gave."""
    InThisProcess.lives, InThisProcess.commands = lives, []
    settings = read_learning(read_values(config, list(overrides)), str(config))
    loop.learn(settings, ["learn", "label", str(config), *overrides])
    return InThisProcess.commands


@pytest.fixture(scope="module")
def finished(tmp_path_factory, patched) -> Path:
    """The folder of an unbroken loop of one round of labels."""
    config = write_settings(tmp_path_factory.mktemp("finished"))
    commands = learn(config)
    assert commands == ["train", "deploy", "simulate", "label", "label", "train", "deploy"]
    return config.parent / "loop"


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "record.jsonl").read_text().splitlines()]


def test_record_has_every_step_in_order(finished):
    steps = [(r["round"][-1], r["step"]) for r in records(finished)]
    first = [("0", name) for name in ("train", "deploy", "simulate", "harvest", "label")]
    assert steps == [*first, ("1", "train"), ("1", "deploy")]


def test_labels_are_added_to_the_data_and_trained_on(finished):
    first, second = (r for r in records(finished) if r["step"] == "train")
    assert (first["frames"], second["frames"]) == (4, 6)
    data = run_results(finished / "round-001" / "committee" / "member-0")["data"]
    assert data["train"] + data["val"] == 6


def test_chosen_frames_are_those_of_the_trajectory(finished):
    frames = {
        atoms.info["step"]: atoms for atoms in read(finished / "round-000" / "simulation-0" / "trajectory.xyz", ":")
    }
    chosen = read(finished / "round-000" / "labelled.xyz", ":")
    assert len(chosen) == 2
    for atoms in chosen:
        frame = frames[atoms.info["step"]]
        assert atoms.info["committee_deviation"] == pytest.approx(frame.info["largest_deviation"])
        assert_array_equal(atoms.get_all_distances(mic=True).round(5), frame.get_all_distances(mic=True).round(5))


def test_each_member_is_trained_on_from_its_own(finished):
    for number in range(2):
        config = load(finished / "round-001" / "committee" / f"member-{number}" / "config.yaml")
        assert config.start.model == str(finished / "round-000" / "committee" / f"member-{number}")
        assert config.training.max_epochs == 1


def test_end_leaves_the_last_archives_and_a_page(finished):
    result = json.loads((finished / "result.json").read_text())
    assert (result["rounds"], result["frames"], result["ended"]) == (1, 6, "ended after max_rounds = 1")
    for path in result["archives"]:
        assert read_model_card(path)["type_names"] == ["Cu"]
    page = (finished / "learning.html").read_text()
    assert "round-001" in page and "ended after max_rounds = 1" in page
    assert (finished / "learning.png").read_bytes().startswith(b"\x89PNG")


def test_last_training_is_on_all_frames_and_leaves_the_archives(finished, patched, tmp_path):
    changes = ["final={max_epochs: 3}", "harvest.threshold=1e5"]
    commands = learn(finished.parent / "learn.yaml", *go_on(finished, tmp_path), *changes)
    assert commands == ["simulate", "train", "deploy"]
    last = tmp_path / "loop" / "round-001"
    assert run_results(last / "final-committee" / "member-0")["epochs"] == 3
    assert (tmp_path / "loop" / "model-1.pth").read_bytes() == (last / "final-1.pth").read_bytes()
    assert records(tmp_path / "loop")[-1]["step"] == "final"


def test_finished_loop_does_nothing_when_it_is_given_again(finished, patched):
    assert learn(finished.parent / "learn.yaml") == []


def test_loop_goes_on_with_more_rounds(finished, patched, tmp_path):
    """The committee of the last round is there already."""
    commands = learn(finished.parent / "learn.yaml", *go_on(finished, tmp_path), "harvest.per_round=1")
    assert commands == ["simulate", "label", "train", "deploy"]


def test_loop_that_dies_after_every_command_ends_as_the_unbroken_one(finished, patched, tmp_path, monkeypatch):
    done, written = [], LabelFolder.record_label
    monkeypatch.setattr(LabelFolder, "record_label", lambda self, atoms: (done.append(self.path), written(self, atoms)))
    config, deaths = write_settings(tmp_path), 0
    for lives in (1, 2, 2, 2, 1, 1, 2, 10**6):
        try:
            learn(config, lives=lives)
        except Died:
            deaths += 1
    assert deaths == 7 and len(done) == len(set(done)) == 2
    for name in ("round-000/chosen.xyz",):
        assert (tmp_path / "loop" / name).read_bytes() == (finished / name).read_bytes()
    ours, theirs = (
        run_results(folder / "round-001" / "committee" / "member-1")["val"] for folder in (tmp_path / "loop", finished)
    )
    assert ours == theirs


def test_dry_harvest_ends_the_loop(finished, patched, tmp_path):
    assert learn(finished.parent / "learn.yaml", *go_on(finished, tmp_path), "harvest.threshold=1e5") == ["simulate"]
    result = json.loads((tmp_path / "loop" / "result.json").read_text())
    assert result["ended"] == "ended in round 1, which found 0 frames worth a label"


def test_simulation_beyond_the_ceiling_at_once_is_an_error(finished, patched, tmp_path):
    """It is no sign that all is learned."""
    overrides = [*go_on(finished, tmp_path), "harvest={threshold: 1e-12, ceiling: 1e-11}"]
    with pytest.raises(LearningError, match="a simulation ended early, but no frame before that is between threshold"):
        learn(finished.parent / "learn.yaml", *overrides)
    log = (tmp_path / "loop" / "round-001" / "simulation-0.log").read_text()
    assert "Fix halt condition for fix-id learn_ceiling met" in log


def go_on(finished: Path, tmp_path: Path) -> list[str]:
    """Overrides for another round on a copy of a loop's folder."""
    shutil.copytree(finished, tmp_path / "loop")
    return [f"dir={tmp_path / 'loop'}", "max_rounds=2"]


def test_step_that_a_signal_stopped_ends_the_loop_as_if_it_had_got_it(tmp_path, capsys):
    """As the steps of a job of SLURM do, which get signals of their own."""
    assert main(["learn", str(write_settings(tmp_path)), "launch.train=sh -c 'exit 143'"]) == 143
    assert "stopped; the same command goes on" in capsys.readouterr().err


def test_step_that_fails_is_named_with_its_last_words(patched, tmp_path):
    config = write_settings(tmp_path, launch={"train": "sh -c 'echo no GPU here; echo -----; exit 3'"})
    with pytest.raises(LearningError, match=r"train of round-000 failed \(3\): no GPU here"):
        learn(config)


def test_launcher_is_that_of_the_environment_though_it_is_not_activated(monkeypatch, tmp_path):
    """A machine may have another MPI's mpiexec, which starts processes that do not know of one another."""
    for folder in ("environment", "machine"):
        (tmp_path / folder).mkdir()
        launcher = tmp_path / folder / "mpiexec"
        launcher.write_text(f"#!/bin/sh\necho that of the {folder}: $1 $2\n")
        launcher.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'machine'}:/usr/bin:/bin")
    monkeypatch.setattr("sys.executable", str(tmp_path / "environment" / "python"))
    log = tmp_path / "log"
    with only_one(tmp_path) as lock, Processes(lock) as processes:
        assert processes.run([], log, "mpiexec -n 2") == 0
        (tmp_path / "environment" / "mpiexec").unlink()
        assert processes.run([], log, "mpiexec -n 3") == 0
    assert log.read_text().splitlines() == ["that of the environment: -n 2", "that of the machine: -n 3"]
