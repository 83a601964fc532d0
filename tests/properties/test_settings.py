"""What can't be studied is refused before anything runs, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import bulk

from allegro_dist.cli import main
from tests.properties.studies import EXPANSION, MELTING, STILLINGER_WEBER, write_study
from tests.simulate.simulations import ARCHIVE


def refused(settings: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that says why."""
    assert main(["properties", str(settings)]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"melting": MELTING | {"gues": 1}}, "unknown key 'melting.gues'; did you mean 'guess'?"),
        ({"melting": {"guess": 1000}}, "missing key 'melting.replicate'"),
        ({"expansion": EXPANSION | {"temperatures": [600, 300]}}, "each above the one before"),
        ({"expansion": EXPANSION | {"temperatures": []}}, "one or more are needed"),
        ({"expansion": EXPANSION | {"discard": 1.0}}, "'expansion.discard'"),
        ({"commands": []}, "either an archive as model, or a pair_style among commands"),
        ({"model": "si.pth"}, "either an archive as model, or a pair_style among commands"),
        ({"crystal": {}}, "crystal.supercell: needed where no archive says"),
    ],
)
def test_bad_setting_is_named(tmp_path, capsys, changes: dict[str, Any], message: str):
    assert message in refused(write_study(tmp_path, **changes), capsys)


def test_missing_structure_is_named(tmp_path, capsys):
    settings = write_study(tmp_path)
    (tmp_path / "silicon.xyz").unlink()
    assert "silicon.xyz" in refused(settings, capsys)


def test_folder_that_cannot_be_written_is_named_before_the_crystal_is_read(tmp_path, capsys):
    settings = write_study(tmp_path, structure="nowhere.cif", dir=str(tmp_path / "silicon.xyz" / "study"))
    assert f"{tmp_path / 'silicon.xyz' / 'study'}: Not a directory" in refused(settings, capsys)


def test_type_that_the_archive_lacks_is_named(tmp_path, capsys):
    settings = write_study(tmp_path, model=str(ARCHIVE), commands=[])
    bulk("Cu", cubic=True).write(tmp_path / "silicon.xyz")
    assert "Cu" in refused(settings, capsys)


def test_molecule_is_refused(tmp_path, capsys):
    settings = write_study(tmp_path)
    Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]]).write(tmp_path / "silicon.xyz")
    assert "a crystal is periodic in three directions" in refused(settings, capsys)


def test_cell_that_leans_can_not_be_cut_for_melting(tmp_path, capsys):
    settings = write_study(tmp_path, expansion=None)
    bulk("Si", "diamond", a=5.43).write(tmp_path / "silicon.xyz")
    assert "melting: " in (message := refused(settings, capsys)) and "perpendicular" in message


def test_cell_of_another_shape_than_at_rest_needs_more_than_its_volume(tmp_path, capsys):
    settings = write_study(tmp_path)
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.set_cell(atoms.cell.array * [1.0, 1.0, 1.02], scale_atoms=True)
    atoms.write(tmp_path / "silicon.xyz")
    assert "expansion.coupling: iso keeps the shape" in refused(settings, capsys)


def test_all_settings_are_printed_with_every_section(capsys):
    assert main(["properties", "melting.guess=1234", "--print-config"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{section}:\n" in text for section in ("crystal", "expansion", "melting"))
    assert "  guess: 1234" in text and "Of the melting point, K" in text


def test_command_that_lammps_refuses_is_told_with_its_reason(tmp_path, capsys):
    settings = write_study(tmp_path, commands=[STILLINGER_WEBER[0], "pair_coeff * * nowhere.sw Si"])
    message = refused(settings, capsys)
    assert "commands: LAMMPS stopped at" in message and "nowhere.sw" in message
