"""The embedded silicon set and the script that extends it, without DFT: finished frames are written by hand."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "examples" / "silicon" / "data"
FILES = ("train.xyz", "test.xyz", "isolated_atom.xyz")


@pytest.fixture
def script(tmp_path, monkeypatch):
    """make_silicon_dataset.py as a module, at work on a copy of the set."""
    spec = importlib.util.spec_from_file_location("make_silicon_dataset", ROOT / "scripts" / "make_silicon_dataset.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.setattr(module, "DATA", tmp_path / "data")
    return module


def finish_frame(script, work, name, energy):
    """Leave a frame as `label` does: the perfect 16-atom crystal with an energy per atom, under any name."""
    atoms = script.tetragonal16()
    labels = {"energy": energy * len(atoms), "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6)}
    atoms.calc = SinglePointCalculator(atoms, **labels)
    atoms.info |= {"name": name, "kpoints": "4x4x5"}
    (work / "frames").mkdir(parents=True, exist_ok=True)
    write(work / "frames" / f"{name}.xyz", atoms, format="extxyz")


def test_collecting_nothing_new_leaves_the_committed_files_as_they_are(script, tmp_path):
    script.collect(tmp_path / "work")
    for file in FILES:
        assert (script.DATA / file).read_bytes() == (DATA / file).read_bytes()


def test_a_frame_added_afterwards_trains_with_its_energy_from_the_common_zero(script, tmp_path):
    finish_frame(script, tmp_path / "work", "liquid_999", script.PERFECT_CRYSTAL["4x4x5"])
    names = dict.fromkeys([*script.frame_list(), "liquid_999"])
    script.frame_list = lambda: names
    script.collect(tmp_path / "work")
    assert (script.DATA / "test.xyz").read_bytes() == (DATA / "test.xyz").read_bytes()
    train = read(script.DATA / "train.xyz", ":")
    assert len(train) == len(read(DATA / "train.xyz", ":")) + 1
    # The perfect crystal has one energy on every grid of k-points: that of the set's own unstrained crystal.
    added, crystal = (next(a for a in train if a.info["name"] == name) for name in ("liquid_999", "eos_008"))
    assert added.get_potential_energy() / 16 == pytest.approx(crystal.get_potential_energy() / 8, abs=1e-5)


def test_a_committed_frame_keeps_its_labels(script, tmp_path):
    finish_frame(script, tmp_path / "work", "liquid_000", -1.0)
    script.collect(tmp_path / "work")
    assert (script.DATA / "train.xyz").read_bytes() == (DATA / "train.xyz").read_bytes()


def test_frames_of_a_learning_loop_are_adopted_once_and_only_train(script, tmp_path):
    before = read(DATA / "train.xyz", ":")
    for number, scale in enumerate((1.01, 1.02)):
        label = tmp_path / "loop" / "round-000" / "labels" / f"{number:03d}"
        label.mkdir(parents=True)
        atoms = script.strained(script.tetragonal16(), (scale - 1) * np.eye(3))
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 - number, forces=np.zeros((16, 3)), stress=np.zeros(6))
        write(label / "label.xyz", atoms, format="extxyz")
        for _ in range(2):
            script.adopt(tmp_path / "loop")
    assert (script.DATA / "test.xyz").read_bytes() == (DATA / "test.xyz").read_bytes()
    added = read(script.DATA / "train.xyz", ":")[len(before) :]
    assert [atoms.info["group"] for atoms in added] == ["learned", "learned"]
    assert len({atoms.info["name"] for atoms in added}) == 2
    assert [atoms.get_potential_energy() for atoms in added] == [-1.0, -2.0]


def test_committed_frames_are_not_labelled_again(script, tmp_path, capsys):
    script.run_labels(tmp_path / "work", 1, ["liquid_000", "isolated_000", "eos_003"])
    assert capsys.readouterr().out == ""


def test_frames_of_training_and_test_differ(script):
    names = [{atoms.info["name"] for atoms in read(DATA / file, ":")} for file in FILES[:2]]
    assert len(names[1]) == 39
    assert not names[0] & names[1]
