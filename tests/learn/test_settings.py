"""What can't be learned is refused before anything is computed, in one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import read, write

from allegro_dist.cli import main
from allegro_dist.config import read_values, to_dict
from allegro_dist.learn.settings import of_round, read_learning
from allegro_dist.simulate.settings import Langevin
from tests.learn.loops import copper, write_settings


def refused(config: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The one line that says why a loop is not begun."""
    assert main(["learn", str(config), *overrides]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert not (config.parent / "loop").exists()
    return message


@pytest.mark.parametrize(
    "override, message",
    [
        ("harvest.treshold=1", "unknown key 'harvest.treshold'; did you mean 'threshold'?"),
        ("harvest.ceiling=1e-9", "ceiling must be above threshold = 1e-09, got 1e-09"),
        ("members=1", "'members': Input should be greater than or equal to 2, got 1"),
        ("simulations=[]", "simulations: at least one is needed"),
        ("simulations.0.stages.0.stage=nvp", "simulations.0: stages.0: unknown stage 'nvp'; did you mean 'nvt'?"),
        ("simulations.0.model=si.pth", "simulations.0: 'model' is that of the round: leave it out"),
        ("simulations.0.dir=here", "simulations.0: 'dir' is that of the round: leave it out"),
        ("training.max_epoch=3", "unknown key 'training.max_epoch'; did you mean 'max_epochs'?"),
        ("retraining.max_epoch=3", "retraining: unknown key 'max_epoch'; did you mean 'max_epochs'?"),
        ("final=3", "final: expected keys of 'training' that differ, got 3"),
        ("label.calculator=ent", "unknown calculator 'ent'; did you mean 'emt'?"),
        ("label.mode=arrays", "'label.mode': Input should be 'processes' or 'array', got 'arrays'"),
        ("data.start=nowhere.xyz", "nowhere.xyz: no such file"),
        ("data.test=nowhere.xyz", "nowhere.xyz: no such file"),
        ("simulations.0.structure.file=nowhere.xyz", "nowhere.xyz: no such file"),
    ],
)
def test_bad_setting_is_named(tmp_path, capsys, override, message):
    assert message in refused(write_settings(tmp_path), capsys, override)


def test_calculator_whose_package_is_missing_is_named(tmp_path, capsys):
    message = refused(write_settings(tmp_path), capsys, "label.calculator=hotbit")
    assert "hotbit needs a package that is not installed" in message


def test_start_frames_of_which_some_lack_labels_are_refused(tmp_path, capsys):
    config = write_settings(tmp_path)
    frames = read(tmp_path / "start.xyz", ":")
    write(tmp_path / "start.xyz", [*frames, copper(9)])
    message = refused(config, capsys)
    assert "4 of 5 frames have energy and forces, but" in message and "start.xyz, frame 4 does not" in message


def test_test_frames_without_labels_are_refused(tmp_path, capsys):
    config = write_settings(tmp_path)
    write(tmp_path / "test.xyz", copper(9))
    assert "test.xyz, frame 0 has no energy or no forces" in refused(config, capsys)


def test_type_that_no_start_frame_has_is_named(tmp_path, capsys):
    config = write_settings(tmp_path)
    write(tmp_path / "crystal.xyz", bulk("Al"))
    assert "crystal.xyz has 'Al', of which no frame of data.start (" in refused(config, capsys)


def test_folder_of_another_loop_is_refused(tmp_path, capsys):
    config = write_settings(tmp_path)
    (tmp_path / "loop").mkdir()
    main(["learn", str(config), "label.calculator=tests.nowhere:Class"])
    other = read_learning(read_values(config, ["seed=1", "max_rounds=7"]), "learn.yaml")
    from allegro_dist.config import dump

    dump(other, tmp_path / "loop" / "config.yaml")
    capsys.readouterr()
    assert main(["learn", str(config)]) == 2
    assert "belongs to a loop with other settings: seed. Take another dir" in capsys.readouterr().err


def test_settings_read_back_are_the_same(tmp_path):
    values = read_values(write_settings(tmp_path))
    config = read_learning(values, "learn.yaml")
    assert read_learning(to_dict(config), "config.yaml") == config


def test_later_rounds_train_as_the_first_but_for_what_is_given(tmp_path):
    config = read_learning(read_values(write_settings(tmp_path)), "learn.yaml")
    assert (config.training_of(0).max_epochs, config.training_of(1).max_epochs) == (2, 1)
    assert config.training_of(1).batch_size == 2


def test_rounds_have_seeds_of_their_own(tmp_path):
    stage = '{"stage": "langevin", "temperature": 300, "steps": 5, "seed": 7}'
    values = read_values(write_settings(tmp_path), [f"simulations.0.stages=[{stage}]"])
    (simulation,) = read_learning(values, "learn.yaml").simulations
    rounds = [of_round(simulation, number, ("a", "b"), "here") for number in range(3)]
    assert len({run.structure.seed for run in rounds}) == 3
    langevin = [stage for run in rounds for stage in run.stages if isinstance(stage, Langevin)]
    assert len({stage.seed for stage in langevin}) == 3
