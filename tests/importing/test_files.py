"""What the command says of files and interpreters that are of no use, and what a run folder holds."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
import torch

from allegro_dist.cli import main
from allegro_dist.training.checkpoint import CheckpointError, load_run, save_run
from tests.conftest import make_potential


@pytest.mark.parametrize(
    "name, python, message",
    [
        ("missing.ckpt", sys.executable, "missing.ckpt: no such file"),
        ("frames.xyz", sys.executable, "frames.xyz: expected a checkpoint or package of nequip-allegro"),
        ("model.ckpt", "/nowhere/python", "--peer-python /nowhere/python: No such file"),
        pytest.param(
            "model.ckpt",
            sys.executable,
            "give the interpreter of an environment with nequip",
            marks=pytest.mark.skipif(find_spec("nequip") is not None, reason="this environment has nequip"),
        ),
    ],
)
def test_error_is_one_line_that_names_the_thing(name, python, message, tmp_path, capsys):
    for existing in ("frames.xyz", "model.ckpt"):
        (tmp_path / existing).write_text("nothing")
    assert main(["import", str(tmp_path / name), "-o", str(tmp_path / "m.pth"), "--peer-python", python]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_run_folder_of_foreign_weights_is_a_run(tmp_path):
    potential = make_potential()
    save_run(tmp_path / "run", potential, {"imported": {"file": "model.ckpt"}})
    loaded = load_run(tmp_path / "run")
    assert loaded.parameters_used == potential.parameters_used
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in potential.state_dict().items())


def test_run_folder_that_holds_a_run_is_left_alone(tmp_path):
    save_run(tmp_path / "run", make_potential(), {})
    with pytest.raises(CheckpointError, match="holds a run already"):
        save_run(tmp_path / "run", make_potential(1), {})
