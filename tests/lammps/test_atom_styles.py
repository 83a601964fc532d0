"""Atoms with charges, molecules and bonds: the model's forces are what they are without."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import TYPE_NAMES
from tests.lammps.lammps_run import last_dump, pair_allegro, start_lmp, write_data

INPUT = """\
units metal
atom_style {style}
atom_modify map {map} sort 1 3.0
{bonds}
box tilt large
read_data structure.data
{pair}
special_bonds lj 1e-50 0.5 1 coul 0 0 1
dump atoms all custom 1 atoms.dump id fx fy fz
dump_modify atoms sort id format float %.17g
run 0
print "energy $(pe:%.17g)"
"""
COLUMNS = {"charge": "{id} {type} 0.1 {x}", "molecular": "{id} 1 {type} {x}", "full": "{id} 1 {type} 0.1 {x}"}


def write_styled_data(path, atoms: Atoms, style: str) -> None:
    """The data file with the columns of the style and, where it knows bonds, a chain through all atoms."""
    write_data(path, atoms, TYPE_NAMES)
    head, rows = path.read_text().split("Atoms # atomic\n\n")
    lines = []
    for row in rows.splitlines():
        number, kind, position = row.split(maxsplit=2)
        lines.append(COLUMNS[style].format(id=number, type=kind, x=position))
    text = head + f"Atoms # {style}\n\n" + "\n".join(lines) + "\n"
    if style != "charge":
        num_bonds = len(atoms) - 1
        text = text.replace(" atoms\n", f" atoms\n{num_bonds} bonds\n1 bond types\n8 extra special per atom\n", 1)
        text += "\nBonds\n\n" + "\n".join(f"{k} 1 {k} {k + 1}" for k in range(1, num_bonds + 1)) + "\n"
    path.write_text(text)


@pytest.mark.parametrize("ranks", (1, 2))
@pytest.mark.parametrize("style, map_style", [("charge", "array"), ("molecular", "hash"), ("full", "array")])
def test_forces_are_the_python_models(style, map_style, ranks, archives, triclinic_silica, tmp_path):
    write_styled_data(tmp_path / "structure.data", triclinic_silica, style)
    bonds = "" if style == "charge" else "bond_style zero nocoeff"
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    if bonds:
        pair = "bond_coeff *\n" + pair
    run = start_lmp(tmp_path, INPUT.format(style=style, map=map_style, bonds=bonds, pair=pair), ranks)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-1000:]
    atoms = triclinic_silica.copy()
    atoms.calc = AllegroCalculator(archives["float64"])
    energy = float(run.stdout.split("\nenergy ")[1].split()[0])
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-10)
    np.testing.assert_allclose(last_dump(tmp_path, len(atoms))[:, 1:], atoms.get_forces(), rtol=0, atol=1e-9)
