"""Fixes that try insertions and deletions: the energies that they judge by, and the state that they leave."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import TYPE_NAMES
from tests.lammps.lammps_run import last_thermo, pair_allegro, start_lmp, write_data
from tests.lammps.test_commands import assert_end_is_the_models

SPOT = (6.0, 5.5, 2.8)
ATOM = """\
units metal
box tilt large
read_data structure.data
{pair}
region spot sphere {x} {y} {z} 1e-9
fix try all widom 1 2 3 17 30000 region spot
thermo_style custom step pe f_try[1]
thermo_modify format float %.17g
run 2
"""


def energy_of(archive, atoms: Atoms) -> float:
    atoms.calc = AllegroCalculator(archive)
    return atoms.get_potential_energy()


@pytest.mark.parametrize("ranks, device", [(1, "cpu"), (4, "cpu"), (2, "emulated")])
def test_widom_inserts_an_atom_at_the_model_s_energy(ranks, device, archives, triclinic_silica, tmp_path):
    """In a region that is a point, the excess chemical potential is the energy of insertion."""
    write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
    pair = pair_allegro(archives["float64"], TYPE_NAMES, f"device {device}")
    run = start_lmp(tmp_path, ATOM.format(pair=pair, x=SPOT[0], y=SPOT[1], z=SPOT[2]), ranks)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-1000:]
    _, energy, insertion = last_thermo(run.stdout)
    before = energy_of(archives["float64"], triclinic_silica.copy())
    after = energy_of(archives["float64"], triclinic_silica + Atoms("H", positions=[SPOT]))
    assert energy == pytest.approx(before, rel=1e-11)  # nothing is left behind
    assert insertion == pytest.approx(after - before, abs=1e-6)


MOLECULE = """\
units metal
atom_style bond
bond_style zero nocoeff
region box block 0 40 0 40 0 40
create_box 3 box bond/types 1 extra/bond/per/atom 2 extra/special/per/atom 4
create_atoms 1 single 5 5 5
create_atoms 3 single 5 6.2 5
set group all mol 1
mass * 10.0
bond_coeff *
special_bonds lj/coul 1 1 1
{pair}
molecule oh oh.mol
region vacuum sphere 20 20 20 2.0
fix try all widom 1 2 0 17 30000 region vacuum mol oh
thermo_style custom step pe f_try[1]
thermo_modify format float %.17g
run 2
"""
OH = """\
O-H

2 atoms
1 bonds

Coords

1 0 0 0
2 1.0 0 0

Types

1 2
2 3

Bonds

1 1 1 2

Special Bond Counts

1 1 0 0
2 1 0 0

Special Bonds

1 2
2 1
"""


def test_widom_inserts_a_molecule_at_the_model_s_energy(archives, tmp_path):
    """Far from all else, so that its random orientation doesn't matter. (LAMMPS does this on one rank only.)"""
    (tmp_path / "oh.mol").write_text(OH)
    run = start_lmp(tmp_path, MOLECULE.format(pair=pair_allegro(archives["float64"], TYPE_NAMES)))
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-1000:]
    expected = energy_of(archives["float64"], Atoms("OH", positions=[[0, 0, 0], [1, 0, 0]]))
    assert last_thermo(run.stdout)[2] == pytest.approx(expected, rel=1e-9)


CHARGE_REGULATION = """\
change_box all ortho
fix charges all property/atom q ghost yes
set type 1 charge -1.0
set type 2 charge 0.0
set type 3 charge 1.0
fix move all nve
fix ions all charge/regulation 3 1 pH 7.0 pIp {pI} pIm {pI} pKa 7.0 acid_type 2 nevery 2 nmc 2 seed 17 &
    lunit_nm 0.1 temp 300000
thermo_style custom step atoms pe f_ions[2]
run 10
variable accepted equal f_ions[2]
print "accepted ${{accepted}} atoms $(atoms)"
"""


@pytest.mark.parametrize("ranks", (1, 2))
@pytest.mark.parametrize("pI, change", [(2, "fewer"), (-9, "more")])
def test_charge_regulation_leaves_a_state_of_the_model(pI, change, ranks, archives, tmp_path):
    """Ions come and go by pairs; a box that is not triclinic, since fix charge/regulation itself loses atoms there."""
    atoms = bulk("O", "sc", a=2.2, cubic=True).repeat(4)
    symbols = ["Si", "H", "O", "O"] * 16
    atoms.set_chemical_symbols(symbols)
    output = assert_end_is_the_models(
        tmp_path, archives["float64"], atoms, CHARGE_REGULATION.replace("{pI}", str(pI)), ranks
    )
    words = next(line for line in output.splitlines() if line.startswith("accepted")).split()
    assert float(words[1]) > 0
    assert np.sign(int(words[3]) - len(atoms)) == {"fewer": -1, "more": 1}[change]
