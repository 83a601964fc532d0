"""What can't be simulated is refused before anything runs, in one line; what blows up stops with its frame saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from ase.io import read, write

from allegro_dist.cli import main
from allegro_dist.config import read_values, to_dict
from allegro_dist.simulate.settings import STAGES, SimulationConfig, read_simulation
from tests.simulate.simulations import ALL_STAGES, run, start, write_settings


def refused(settings: Path, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    """The one line that says why a dry run is refused."""
    assert main(["simulate", str(settings), *overrides, "--dry-run"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    "stage, message",
    [
        ({"stage": "nvp", "steps": 5}, "stages.0: unknown stage 'nvp'; did you mean 'nvt'?"),
        ({"steps": 5}, "stages.0: expected keys and values with 'stage' among them"),
        ({"stage": "nve", "step": 5}, "unknown key 'step'; did you mean 'steps'?"),
        ({"stage": "nvt", "steps": 5}, "stages.0 (nvt): missing key 'temperature'"),
        ({"stage": "nvt", "steps": 5, "temperature": -1}, "greater than 0, got -1"),
        ({"stage": "deform", "steps": 5, "scale": {"w": 1.1}}, "'x', 'y' or 'z'"),
        ({"stage": "nph", "steps": 5, "coupling": "w"}, "'x', 'y' or 'z', got 'w'"),
        ({"stage": "npt", "steps": 5, "temperature": 1, "atoms": [1, 2]}, "unknown key 'atoms'"),
        ({"stage": "nve", "steps": 5, "atoms": [60, 65]}, "has 64 atoms with all replicas: [60, 65] are not the first"),
    ],
)
def test_bad_stage_is_named(tmp_path, capsys, stage, message):
    assert message in refused(write_settings(tmp_path, stages=[stage]), capsys)


@pytest.mark.parametrize(
    "record, message",
    [
        ({"stress": 0}, "'record.stress': Input should be greater than or equal to 1, got 0"),
        ({"heat_flx": 5}, "unknown key 'record.heat_flx'; did you mean 'heat_flux'?"),
    ],
)
def test_bad_record_is_named(tmp_path, capsys, record, message):
    assert message in refused(write_settings(tmp_path, record=record), capsys)


def test_unknown_key_is_named_with_the_nearest_known_one(tmp_path, capsys):
    assert "unknown key 'timestp'; did you mean 'timestep'?" in refused(write_settings(tmp_path, timestp=1), capsys)


def test_type_that_the_archive_lacks_is_named(tmp_path, capsys):
    settings = write_settings(tmp_path)
    bulk("Cu", cubic=True).write(tmp_path / "silicon.xyz")
    message = refused(settings, capsys)
    assert "silicon.xyz: type 'Cu' is not among those of" in message and "si.pth: Si" in message


@pytest.mark.parametrize("pbc, coupling", [(False, "iso"), ([True, True, False], "z")])
def test_barostat_without_a_cell_is_refused(tmp_path, capsys, pbc, coupling):
    settings = write_settings(tmp_path, stages=[{"stage": "nph", "steps": 5, "coupling": coupling}])
    write(tmp_path / "silicon.xyz", Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]], cell=[5, 5, 5], pbc=pbc))
    assert "stages.0 (nph)" in refused(settings, capsys)


def test_simulation_without_a_potential_is_refused(tmp_path, capsys):
    message = refused(write_settings(tmp_path, model=None), capsys)
    assert "model: an archive is needed where commands have no pair_style" in message


def test_missing_archive_is_named(tmp_path, capsys):
    assert "nowhere.pth: no such file" in refused(write_settings(tmp_path, model="nowhere.pth"), capsys)


def test_data_file_needs_its_elements(tmp_path, capsys):
    settings = write_settings(tmp_path, structure={"file": str(tmp_path / "silicon.data"), "replicate": [4, 4, 4]})
    write(tmp_path / "silicon.data", bulk("Si"), format="lammps-data")
    assert "name the element of each of its types" in refused(settings, capsys)
    assert main(["simulate", str(settings), "structure.types=[Si]", "--dry-run"]) == 0


def test_dry_run_prints_the_script_and_leaves_no_folder(tmp_path, capsys):
    settings = write_settings(tmp_path)
    assert main(["simulate", str(settings), "--dry-run", "stages.1.temperature=500"]) == 0
    script = capsys.readouterr().out
    assert "fix          motion1 all nvt temp 500 500 0.1" in script and "pair_style   allegro" in script
    assert not (tmp_path / "run").exists()


def test_settings_read_back_are_the_same(tmp_path):
    values = read_values(write_settings(tmp_path))
    config = read_simulation(values, "run.yaml")
    assert {type(stage) for stage in config.stages} == set(STAGES.values())
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(to_dict(config)))
    assert read_simulation(read_values(tmp_path / "again.yaml"), "again.yaml") == config
    assert isinstance(config, SimulationConfig) and len(config.stages) == len(ALL_STAGES)


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    settings = write_settings(tmp_path, stages=[{"stage": "nve", "steps": 6}])
    run(settings)
    process = start(settings, "timestep=2", "stages.0.steps=8")
    assert "belongs to a simulation with other settings: stages, timestep" in process.communicate()[1]
    assert process.returncode == 2


def test_timestep_that_blows_up_stops_with_the_reason_and_the_frame(tmp_path):
    settings = write_settings(tmp_path, timestep=30.0, max_temperature=5000, stages=[{"stage": "nve", "steps": 500}])
    process = start(settings)
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 2
    assert "K, beyond max_temperature 5000: is the timestep too long?" in errors
    atoms = read(tmp_path / "run" / "blown_up.xyz")
    assert len(atoms) == 64 and np.isfinite(atoms.get_forces()).all()
    assert atoms.get_temperature() > 4000


def test_command_that_lammps_refuses_is_named_with_its_reason(tmp_path):
    process = start(write_settings(tmp_path, commands=["fix nonsense all nonsense"]))
    errors = process.communicate(timeout=300)[1]
    assert process.returncode == 2
    assert "LAMMPS stopped at `fix nonsense all nonsense`" in errors and "nonsense" in errors


def test_user_commands_are_issued_where_they_stand(tmp_path):
    stages = [{"stage": "nve", "steps": 6, "commands": ["fix pull all addforce 0.1 0 0"]}]
    folder = run(write_settings(tmp_path, stages=stages, commands=["group left id 1"]))
    log = (folder / "log.lammps").read_text()
    assert log.index("group left id 1") < log.index("fix pull all addforce") < log.index("run          6")
    assert json.loads((folder / "checkpoint.json").read_text())["finished"]
