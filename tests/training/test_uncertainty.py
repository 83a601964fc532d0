"""A committee: its mean and deviation against numpy, its files, and its archives."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ase.io import read
from scipy import stats

from allegro_dist.cli import main
from allegro_dist.config import dump
from allegro_dist.simulate.calculator import AllegroCalculator
from allegro_dist.training.prediction import Prediction
from allegro_dist.training.uncertainty import Pairs, calibration, mean_of
from tests.training.runs import small_run, write_frames


@pytest.fixture(scope="module")
def committee(tmp_path_factory):
    """The folder of a committee of three, with its test frames, its archives, and what deploying them printed."""
    folder = tmp_path_factory.mktemp("committee")
    train, test = write_frames(folder / "train.xyz"), write_frames(folder / "test.xyz", count=5, seed=70)
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


def test_mean_and_deviation_are_numpy_s():
    rng = np.random.default_rng(0)
    energy, forces = rng.normal(size=(4, 2)), rng.normal(size=(4, 5, 3))
    members = [Prediction(torch.tensor(e), torch.tensor(f), None) for e, f in zip(energy, forces, strict=True)]
    mean, spread = mean_of(members)
    np.testing.assert_allclose(mean.energy, energy.mean(0), rtol=1e-14)
    np.testing.assert_allclose(mean.forces, forces.mean(0), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(spread.energy, energy.std(0), rtol=1e-13)
    np.testing.assert_allclose(spread.forces, np.sqrt(((forces - forces.mean(0)) ** 2).sum(2).mean(0)), rtol=1e-13)


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
    assert told["rms_error"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-9)


def test_bins_by_deviation_hold_equal_counts_and_add_up():
    rng = np.random.default_rng(1)
    pairs = Pairs(rng.uniform(1, 2, 103), rng.normal(size=103) ** 2)
    told = calibration(pairs)
    counts = np.array([part["count"] for part in told["bins"]])
    assert counts.sum() == 103 and np.ptp(counts) <= 1
    assert (np.diff([part["deviation"] for part in told["bins"]]) > 0).all()
    for name, values in zip(("deviation", "error"), pairs, strict=True):
        squares = np.array([part[name] ** 2 for part in told["bins"]])
        assert (counts * squares).sum() == pytest.approx((values**2).sum())


def test_members_that_agree_have_no_calibration():
    assert calibration(Pairs(np.zeros(9), np.arange(9.0))) is None


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
