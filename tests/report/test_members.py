"""A committee of one command: its table against its archives and numpy, and how they are deployed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase.io import read
from scipy import stats

from allegro_dist.cli import main
from allegro_dist.config import dump
from allegro_dist.simulate.calculator import AllegroCalculator
from tests.training.runs import small_run, write_frames


@pytest.fixture(scope="module")
def committee(tmp_path_factory):
    """The folder of a committee of three, with its test frames, its archives, and what deploying them printed."""
    folder = tmp_path_factory.mktemp("committee")
    train, test = write_frames(folder / "train.xyz"), write_frames(folder / "test.xyz", count=12, seed=70)
    dump(small_run(folder / "run", train, {"max_epochs": 2}, data={"test": test}), folder / "c.yaml")
    assert main(["train", str(folder / "c.yaml"), "--members", "3"]) == 0
    return folder


@pytest.fixture(scope="module")
def labelled(committee):
    return read(committee / "test.xyz", ":")


@pytest.fixture(scope="module")
def predicted(committee, labelled):
    """Energies [K, F] and forces [K][F] of the deployed members, by ASE."""
    assert main(["deploy", str(committee / "run"), "-o", str(committee / "m.pth")]) == 0
    energies, forces = [], []
    for number in range(3):
        calculator = AllegroCalculator(committee / f"m-{number}.pth")
        frames = [atoms.copy() for atoms in labelled]
        for atoms in frames:
            atoms.calc = calculator
        energies.append([atoms.get_potential_energy() for atoms in frames])
        forces.append([atoms.get_forces() for atoms in frames])
    return np.array(energies), forces


def test_errors_of_the_mean_are_those_of_the_archives_mean(committee, labelled, predicted):
    written = json.loads((committee / "run" / "committee.json").read_text())
    energies, forces = predicted
    reference = np.concatenate([atoms.get_forces() for atoms in labelled])
    mean = np.mean([np.concatenate(of_member) for of_member in forces], axis=0)
    assert written["mean"]["forces"]["mae"] == pytest.approx(np.abs(mean - reference).mean(), rel=1e-9)
    per_atom = (energies.mean(0) - [atoms.get_potential_energy() for atoms in labelled]) / [len(a) for a in labelled]
    assert written["mean"]["energy_per_atom"]["mae"] == pytest.approx(np.abs(per_atom).mean(), rel=1e-9)


def test_calibration_is_that_of_the_archives(committee, labelled, predicted):
    told = json.loads((committee / "run" / "committee.json").read_text())["calibration"]["forces"]
    forces = np.array([np.concatenate(of_member) for of_member in predicted[1]])
    deviation = np.sqrt(((forces - forces.mean(0)) ** 2).sum(2).mean(0))
    error = np.linalg.norm(forces.mean(0) - np.concatenate([atoms.get_forces() for atoms in labelled]), axis=1)
    assert told["count"] == len(error)
    assert told["pearson"] == pytest.approx(np.corrcoef(deviation, error)[0, 1], rel=1e-8)
    assert told["spearman"] == pytest.approx(np.corrcoef(stats.rankdata(deviation), stats.rankdata(error))[0, 1])
    assert told["scale"] == pytest.approx(np.sqrt(((error / deviation) ** 2).mean()), rel=1e-8)


def test_table_names_members_and_their_mean(committee):
    text = (committee / "run" / "committee.md").read_text()
    assert [line.split("|")[1].strip() for line in text.splitlines() if "member-" in line or "mean of all" in line] == [
        "member-0", "member-1", "member-2", "mean of all"]  # fmt: skip


def test_deploying_a_committee_prints_the_line_for_lammps(committee, capsys):
    assert main(["deploy", str(committee / "run"), "-o", str(committee / "n.pth"), "--exact"]) == 0
    archives = [str(committee / f"n-{number}.pth") for number in range(3)]
    assert capsys.readouterr().out.splitlines()[-1] == f"pair_coeff * * {' '.join(archives)} H O Si"


def test_committee_of_one_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["train", "c.yaml", "--members", "1"])
    assert "expected 2 members or more, got 1" in capsys.readouterr().err
