"""Pairs that LAMMPS leaves out of the neighbor list: refused with the remedy where the model would miss them."""

from __future__ import annotations

import pytest
from ase import Atoms

from allegro_dist.simulate.calculator import AllegroCalculator
from tests.lammps.lammps_run import start_lmp

DATA = """
3 atoms
2 bonds
2 atom types
1 bond types
0 12 xlo xhi
0 12 ylo yhi
0 12 zlo zhi

Masses

1 40.0
2 80.0

Atoms # bond

1 1 1 3.0 3.0 3.0
2 1 2 3.0 3.0 6.5
3 1 1 3.0 6.0 8.0

Bonds

1 1 1 2
2 1 2 3
"""
BONDED = """
units metal
atom_style bond
bond_style zero
read_data bonds.data
bond_coeff *
{style}
{commands}
run 0
"""
ALONE = "pair_style allegro\npair_coeff * * {archive} Ar Kr"


def run(folder, archive, commands, style=ALONE):
    """The output of a two-rank run, on one line, and whether it went well."""
    (folder / "bonds.data").write_text(DATA)
    done = start_lmp(folder, BONDED.format(style=style.format(archive=archive), commands=commands), ranks=2)
    return " ".join((done.stdout + done.stderr).split()), done.returncode == 0


@pytest.mark.parametrize(
    "weights, what", [("0 1 1", "1-2 (bonded)"), ("1 0 1", "1-3 (over two bonds)"), ("0 0 0", "1-2 (bonded)")]
)
def test_special_bonds_that_drop_neighbors_are_refused(weights, what, lj_archive, tmp_path):
    text, good = run(tmp_path, lj_archive, f"special_bonds lj/coul {weights}")
    assert not good
    assert f"special_bonds leaves out {what} neighbors (weights 0); use special_bonds lj/coul 1 1 1" in text


@pytest.mark.parametrize("weights", ["1 1 1", "1 1 0", "1e-50 1 1"])  # no atom has a 1-4 neighbor
def test_special_bonds_that_drop_nothing_run(weights, lj_archive, tmp_path):
    text, good = run(tmp_path, lj_archive, f"special_bonds lj/coul {weights}")
    assert good, text


def test_bonds_deleted_make_special_bonds_harmless(lj_archive, tmp_path):
    text, good = run(tmp_path, lj_archive, "delete_bonds all multi remove special")
    assert good, text


@pytest.mark.parametrize(
    "commands",
    ["neigh_modify exclude type 1 2", "neigh_modify exclude group all all", "neigh_modify exclude molecule/intra all"],
)
def test_excluded_pairs_are_refused(commands, lj_archive, tmp_path):
    text, good = run(tmp_path, lj_archive, f"special_bonds lj/coul 1 1 1\n{commands}")
    assert not good
    assert "neigh_modify exclude leaves some out; remove it (neigh_modify exclude none)" in text


def test_exclusion_can_be_lifted(lj_archive, tmp_path):
    text, good = run(
        tmp_path, lj_archive, "special_bonds lj/coul 1 1 1\nneigh_modify exclude type 1 2\nneigh_modify exclude none"
    )
    assert good, text


def test_excluded_types_of_another_style_are_its_own_matter(lj_archive, tmp_path):
    style = "pair_style hybrid allegro lj/cut 5.0\npair_coeff * * allegro {archive} Ar NULL\n"
    style += "pair_coeff 1*2 2 lj/cut 0.01 3.0"
    text, good = run(tmp_path, lj_archive, "special_bonds lj/coul 1 1 1\nneigh_modify exclude type 2 2", style)
    assert good, text


ABSENT = """\
units metal
boundary f f f
region box block 0 30 0 30 0 30
create_box 3 box
create_atoms 1 single 12 12 12
create_atoms 2 single 13.6 12 12
create_atoms 3 single 12 13.3 12
mass * 40.0
pair_style allegro device {device}
pair_coeff * * {archive} Si O H
{absent}
run 0
print "energy $(pe:%.17g)"
"""


@pytest.mark.parametrize("ranks, device", [(1, "cpu"), (2, "cpu"), (2, "emulated")])
def test_atoms_that_fix_gcmc_takes_out_have_no_energy(archives, tmp_path, ranks, device):
    """It tries a deletion by excluding the atom from all pairs, and compares energies."""
    absent = (
        "group FixGCMC:gcmc_exclusion_group:in id 2\nneigh_modify exclude group FixGCMC:gcmc_exclusion_group:in all"
    )
    done = start_lmp(tmp_path, ABSENT.format(archive=archives["float64"], absent=absent, device=device), ranks)
    energy = float(done.stdout.split("\nenergy ")[1].split()[0])
    rest = Atoms("SiH", positions=[[12, 12, 12], [12, 13.3, 12]])
    rest.calc = AllegroCalculator(archives["float64"])
    assert energy == pytest.approx(rest.get_potential_energy(), rel=1e-11)
