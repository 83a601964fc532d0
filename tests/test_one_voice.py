"""Processes of one mpiexec: an error that all have is told once, one that a single process has ends them all."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.lammps.lammps_run import MPIEXEC
from tests.simulate.simulations import write_settings

pytestmark = pytest.mark.skipif(not MPIEXEC.exists(), reason="needs mpiexec (scripts/setup.sh)")
COMMAND = [sys.executable, "-m", "allegro_dist.cli"]


def failure(*arguments_of_ranks: list[str]) -> list[str]:
    """What processes tell of errors, one for each list of arguments; they must end, with exit code 2."""
    words = [str(MPIEXEC)]
    for arguments in arguments_of_ranks:
        words += [*([":"] if len(words) > 1 else []), "-n", "1", *COMMAND, *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2, run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    return [line for line in run.stderr.splitlines() if line.startswith("allegro-dist: ")]


@pytest.mark.parametrize("command", ["train", "simulate", "properties"])
def test_configuration_that_is_missing_everywhere_is_told_once(command):
    assert failure(*[[command, "nowhere.yaml"]] * 2) == ["allegro-dist: nowhere.yaml: no such configuration file"]


def test_data_that_are_missing_everywhere_are_told_once(tmp_path):
    (told,) = failure(*[["train", "data.train=nowhere.xyz", f"run.dir={tmp_path}"]] * 2)
    assert "nowhere.xyz" in told


def test_what_only_the_first_process_looks_at_is_told_once(tmp_path):
    settings = write_settings(tmp_path, model=str(tmp_path / "nowhere.pth"))
    (told,) = failure(*[["simulate", str(settings), f"dir={tmp_path / 'run'}"]] * 2)
    assert "nowhere.pth" in told


@pytest.mark.parametrize("command, bad", [("simulate", 0), ("simulate", 1), ("train", 1)])
def test_error_of_one_process_ends_the_others(tmp_path, command, bad):
    settings = write_settings(tmp_path)
    if command == "train":
        settings.write_text("data: {train: frames.xyz}")  # which nobody comes to read
    arguments = [[command, str(settings)], [command, str(settings)]]
    arguments[bad] = [command, "nowhere.yaml"]
    assert failure(*arguments) == ["allegro-dist: nowhere.yaml: no such configuration file"]


def test_errors_that_differ_are_all_told():
    told = failure(*(["simulate", f"{name}.yaml"] for name in "aba"))
    assert sorted(told) == [f"allegro-dist: {name}.yaml: no such configuration file" for name in "ab"]


def test_what_only_prints_does_not_wait(tmp_path):
    settings = write_settings(tmp_path)
    told = failure(["simulate", str(settings), "--print-config"], ["simulate", "nowhere.yaml", "--print-config"])
    assert told == ["allegro-dist: nowhere.yaml: no such configuration file"]
