"""What LAMMPS users do to a system. Wherever a run ends, energy and forces must be the Python model's there."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ase import Atoms

from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import TYPE_NAMES, silica
from tests.lammps.lammps_run import in_lammps_frame, pair_allegro, start_lmp, write_data

START = """\
units metal
atom_style atomic
boundary {boundary}
box tilt large
read_data structure.data
{pair}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
velocity all set 3.0 -2.0 1.0
velocity all ramp vx -5 5 y 0 10
timestep 0.0002
thermo_modify lost error flush yes
"""
END = """
run 0
variable box string "$(xlo:%.17g) $(ylo:%.17g) $(zlo:%.17g) $(xhi:%.17g) $(yhi:%.17g) $(zhi:%.17g)"
variable tilt string "$(xy:%.17g) $(xz:%.17g) $(yz:%.17g) $(pe:%.17g)"
print "END ${box} ${tilt}"
write_dump all custom end.dump id type x y z fx fy fz modify sort id format float %.17g
"""
NVE = "fix move all nve\n"
TILTED = [[6, 0, 0], [5.5, 6, 0], [-5, 4, 6]]
COMMANDS = {
    "nve": NVE + "run 20",
    "langevin": NVE + "fix bath all langevin 300 300 0.01 17\nrun 20\nunfix bath",
    "nve of a group": "group few id <= 7\nfix move few nve\nrun 20",
    "nve of a group that changes": "variable fast atom vx>0\ngroup fast dynamic all var fast every 3\n"
    + "fix move fast nve\nrun 20",
    "npt iso": "fix move all npt temp 300 300 0.02 iso 0 10000 0.05\nrun 20",
    "npt aniso": "fix move all npt temp 300 300 0.02 aniso 0 10000 0.05\nrun 20",
    "npt tri": "fix move all npt temp 300 300 0.02 tri 0 10000 0.05\nrun 20",
    "nph": "fix move all nph x 0 10000 0.05\nrun 20",
    "msst": "fix move all msst z 20 q 200 mu 0.001 tscale 0.01\nrun 20",
    "deform": NVE + "fix shear all deform 1 x erate 10 xy erate 10 remap v\nrun 20",
    "respa": "run_style respa 2 2 pair 2\n" + NVE + "run 10",
    "minimize by fire": "min_style fire\nminimize 0 1e-4 10 50",
    "minimize": "minimize 0 1e-4 10 50",
    "box relax": "fix relax all box/relax tri 0 vmax 0.01\nminimize 0 1e-4 10 50",
    "balance": "balance 1.0 shift xyz 10 1.05\nfix even all balance 5 1.0 shift xz 10 1.05\n" + NVE + "run 20",
    "bisection": "replicate 1 1 2\ncomm_style tiled\nbalance 1.0 rcb\nfix even all balance 5 1.0 rcb\n"
    + NVE
    + "run 20",
    "bisection for two atoms": "replicate 1 1 2\ncomm_style tiled\ngroup few id > 2\ndelete_atoms group few\n"
    + "balance 1.0 rcb\nfix even all balance 2 1.0 rcb\n"
    + NVE
    + "run 6",
    "replicate": "replicate 2 1 1\nvelocity all create 300 1\n" + NVE + "run 10",
    "delete atoms": "group few id > 4\ndelete_atoms group few compress no\n" + NVE + "run 10",
    "delete all but one": "group few id > 1\ndelete_atoms group few\n" + NVE + "run 2",
    "delete a type": "group o type 2\ndelete_atoms group o\n" + NVE + "run 10",
    "create atoms": "create_atoms 3 single 1.1 1.2 1.3\n" + NVE + "run 10",
    "evaporate": "region all prism INF INF INF INF INF INF 0 0 0\nfix out all evaporate 5 2 all 17\n" + NVE + "run 20",
    "deposit": "region some sphere 6 5.5 2.8 2.5\nfix in all deposit 3 3 2 17 region some near 0.9\n" + NVE + "run 10",
    "gcmc": "fix in all gcmc 5 3 3 3 17 3000 0.0 0.2 full_energy\n" + NVE + "run 10\nunfix in",
    "swap": "fix swap all atom/swap 5 3 17 3000 types 1 2\n" + NVE + "run 10\nunfix swap",
    "rerun": NVE + "dump path all custom 2 path.dump id type x y z\nrun 10\nundump path\nrerun path.dump dump x y z",
    "runs without set-up": NVE + "run 5 post no\nrun 5 pre no post no",
    "renumber": "group few id 2 5 9\ndelete_atoms group few compress no\nreset_atoms id\n" + NVE + "run 5",
    "change types": "set group all type/ratio 3 0.5 17\n" + NVE + "run 10",
    "change box": "change_box all x scale 1.05 xy delta 0.3 remap units box\n" + NVE + "run 10",
    "displace": "displace_atoms all random 0.1 0.1 0.1 17\n" + NVE + "run 10",
    "sort and communicate": "comm_modify cutoff 8.0 mode single\natom_modify sort 1 2.0\n" + NVE + "run 10",
    "a group first": "group few id <= 7\natom_modify sort 0 0\natom_modify first few\n" + NVE + "run 10",
    "ghosts asked for within the cutoff": "comm_modify cutoff 3.0\n" + NVE + "run 10",
    "settings of pair potentials": "pair_modify shift yes mix arithmetic tail no nofdotr\n" + NVE + "run 10",
    "styles of other packages": "suffix hybrid omp opt\n" + NVE + "run 10",
    "communicate by type": "neighbor 1.0 multi\ncomm_modify mode multi cutoff/multi 1 8.0 cutoff/multi 2 7.0 vel yes\n"
    + NVE
    + "run 10",
    "neighbor multi": "neighbor 1.0 multi\n" + NVE + "run 10",
    "neighbor nsq": "neighbor 1.0 nsq\n" + NVE + "run 10",
    "restart": NVE
    + "run 10\nwrite_restart half.restart\nclear\nread_restart half.restart\n{pair}\n"
    + "neighbor 1.0 bin\n"
    + NVE
    + "run 10",
    "write and read data": NVE
    + "run 5\nwrite_data half.data\nclear\nunits metal\nread_data half.data\n{pair}\n"
    + NVE
    + "run 5",
}


def assert_end_is_the_models(folder, archive, atoms, commands, ranks=1) -> str:
    """Runs the commands and holds the last state against the ASE calculator; what LAMMPS said."""
    pair = pair_allegro(archive, TYPE_NAMES)
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    boundary = " ".join("p" if periodic else "f" for periodic in atoms.pbc)
    text = START.format(boundary=boundary, pair=pair) + commands.format(pair=pair) + END
    run = start_lmp(folder, text, ranks)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    words = next(line for line in run.stdout.splitlines() if line.startswith("END")).split()[1:]
    low, high, (xy, xz, yz), energy = np.split(np.array(words, dtype=float), (3, 6, 9))
    length = high - low
    table = np.loadtxt((folder / "end.dump").read_text().partition("ITEM: ATOMS")[2].splitlines()[1:], ndmin=2)
    end = Atoms(
        [TYPE_NAMES[int(k) - 1] for k in table[:, 1]],
        positions=table[:, 2:5] - low,
        cell=[[length[0], 0, 0], [xy, length[1], 0], [xz, yz, length[2]]],
        pbc=atoms.pbc,
    )
    end.calc = AllegroCalculator(archive)
    forces = end.get_forces()
    np.testing.assert_allclose(energy[0], end.get_potential_energy(), rtol=0, atol=1e-10 * len(end))
    np.testing.assert_allclose(table[:, 5:8], forces, rtol=0, atol=1e-9 * max(1.0, abs(forces).max()))
    return run.stdout


@pytest.mark.parametrize("ranks", (1, 4))
@pytest.mark.parametrize("name", COMMANDS)
def test_end_of_a_run_is_the_python_model_s(archives, triclinic_silica, tmp_path, name, ranks):
    assert_end_is_the_models(tmp_path, archives["float64"], triclinic_silica, COMMANDS[name], ranks)


@pytest.mark.parametrize("before, after", ((1, 4), (4, 1)))
def test_restart_on_another_number_of_ranks(archives, triclinic_silica, tmp_path, before, after):
    again = "clear\nread_restart half.restart\n{pair}\n" + NVE + "run 5"
    write = NVE + "run 5\nwrite_restart half.restart"
    assert_end_is_the_models(tmp_path, archives["float64"], triclinic_silica, write, before)
    output = assert_end_is_the_models(tmp_path, archives["float64"], triclinic_silica, again, after)
    assert re.search(r"^ +10 ", output, re.MULTILINE)


NUMDIFF = """\
clear
units metal
atom_modify map array
read_data structure.data
{pair}
fix difference all numdiff 1 1e-4
variable deviation atom abs(fx-f_difference[1])+abs(fy-f_difference[2])+abs(fz-f_difference[3])
compute worst all reduce max v_deviation
run 0
print "WORST $(c_worst)"
unfix difference
uncompute worst
"""


@pytest.mark.parametrize("ranks", (1, 4))
def test_forces_are_lammps_s_finite_differences(archives, triclinic_silica, tmp_path, ranks):
    output = assert_end_is_the_models(tmp_path, archives["float64"], triclinic_silica, NUMDIFF, ranks)
    worst = float(re.findall(r"^WORST (.*)", output, re.MULTILINE)[0])
    assert 0.0 < worst < 1e-4  # eV/Angstrom; energies are rounded at 1e-12 and differenced over 1e-4 Angstrom


PRESSURE = """\
clear
units metal
box tilt large
read_data structure.data
{pair}
fix push all addforce 1.0 2.0 3.0
fix_modify push virial yes
compute of_pairs all pressure NULL pair
compute of_all all pressure NULL virial
fix difference all numdiff/virial 1 1e-5
thermo_style custom c_of_pairs[*] f_difference[*] c_of_all[*]
thermo_modify format float %.17g
run 0
unfix difference
unfix push
thermo_style one
"""


@pytest.mark.parametrize("ranks", (1, 4))
def test_pressure_of_pairs_is_the_slope_of_energy_without_what_fixes_add(archives, triclinic_silica, tmp_path, ranks):
    output = assert_end_is_the_models(tmp_path, archives["float64"], triclinic_silica, PRESSURE, ranks)
    lines = iter(output.splitlines())
    next(line for line in lines if "f_difference[1]" in line)
    of_pairs, slopes, of_all = np.split(np.array(next(lines).split(), dtype=float), 3)
    slopes = slopes[[0, 1, 2, 5, 4, 3]]  # yz, xz, xy behind the diagonal, where compute pressure has xy, xz, yz
    np.testing.assert_allclose(of_pairs, slopes, rtol=0, atol=1e-6 * abs(of_pairs).max())
    assert (abs(of_all - of_pairs)[:3] > 1e-3 * abs(of_pairs).max()).all()


@pytest.mark.parametrize(
    "commands, message",
    (
        (
            "run_style respa 3 2 2 inner 1 3.0 4.0 outer 3\nfix move all nve\nrun 4",
            "Pair style does not support rRESPA inner/middle/outer",
        ),
        ("pair_write 1 1 10 r 1.0 4.0 table.txt x", "Pair style allegro does not support pair_write"),
    ),
    ids=("respa by distance", "pair_write"),
)
def test_what_needs_a_pair_potential_is_refused(archives, triclinic_silica, tmp_path, commands, message):
    write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
    start = START.format(boundary="p p p", pair=pair_allegro(archives["float64"], TYPE_NAMES))
    run = start_lmp(tmp_path, start + commands, ranks=2)
    assert run.returncode != 0 and message in run.stdout


@pytest.mark.parametrize("ranks", (1, 8))
@pytest.mark.parametrize(
    "atoms",
    [
        Atoms("Si", cell=[4.0] * 3, pbc=True),
        Atoms("SiO", positions=[[0.1, 0, 0], [1.7, 0.2, 0.1]], cell=[3.2, 3.0, 3.1], pbc=True),
        Atoms("Si", positions=[[5, 5, 5]], cell=[20.0] * 3),
        Atoms("SiOH", positions=[[2, 5, 5], [3.6, 5, 5], [18, 5, 5]], cell=[20.0, 10.0, 10.0]),
        Atoms("SiO2", positions=[[2, 2, 2], [3.6, 2, 2], [2, 3.6, 2]], cell=[8, 8, 20.0], pbc=[True, True, False]),
        Atoms(
            "SiO2", positions=[[2, 1, 1], [3.6, 1, 1], [2, 2.6, 1]], cell=[[6, 0, 0], [5.5, 6, 0], [-5, 4, 6]], pbc=True
        ),
    ],
    ids=("one atom and its images", "cell below the cutoff", "one atom", "far apart", "slab", "strongly tilted"),
)
def test_small_and_strange_systems(archives, tmp_path, atoms, ranks):
    assert_end_is_the_models(tmp_path, archives["float64"], in_lammps_frame(atoms), NVE + "run 5", ranks)


@pytest.mark.parametrize("ranks", (1, 4))
def test_shrink_wrapped_and_mixed_boundaries(archives, tmp_path, ranks):
    atoms = Atoms("SiOH", positions=[[2, 5, 5], [3.6, 5, 5], [18, 5, 5]], cell=[20.0, 10.0, 10.0])
    commands = "change_box all boundary s m f\n" + NVE + "run 5"
    assert_end_is_the_models(tmp_path, archives["float64"], atoms, commands, ranks)


@pytest.mark.parametrize("ranks", (1, 4))
def test_balance_follows_shrink_wrapped_boundaries(archives, tmp_path, ranks):
    """The box shrinks to a cluster that flies apart, and grows with it; the ranks' parts of it are cut anew."""
    atoms = silica(seed=9, repeat=(2, 1, 1))
    atoms.set_cell([40.0, 20.0, 20.0])
    atoms.positions += 4.0
    atoms.pbc = False
    commands = "change_box all boundary s s m\nfix even all balance 5 1.0 shift xyz 10 1.05\n" + NVE
    commands += "velocity all ramp vx -50 50 x 4 16\n"
    commands += 'print "LENGTH $(lx)"\nrun 20\nprint "LENGTH $(lx)"\n'
    output = assert_end_is_the_models(tmp_path, archives["float64"], atoms, commands, ranks)
    before, after = (float(line.split()[1]) for line in output.splitlines() if line.startswith("LENGTH"))
    assert 10.0 < before + 0.1 < after < 15.0


FLIPS = """\
fix shear all deform 1 xy erate 200 xz erate 400 remap x flip yes
thermo_style custom step pe lx xy xz
thermo 1
fix move all nve
run 20
"""


@pytest.mark.parametrize("ranks", (1, 4))
def test_boxes_that_flip_change_nothing(archives, triclinic_silica, tmp_path, ranks):
    """Sheared beyond half a length, LAMMPS takes another cell of the same lattice."""
    output = assert_end_is_the_models(tmp_path, archives["float64"], triclinic_silica, FLIPS, ranks)
    rows = re.findall(r"^ +\d+(?: +-?[\d.]+){4} *$", output, re.MULTILINE)
    tilt = np.array([row.split()[3:] for row in rows[:21]], dtype=float)
    assert ((np.diff(tilt, axis=0) < -1.0).sum(axis=0) > 0).all()


def test_dump_thresholds_choose_by_the_model_s_forces(archives, triclinic_silica, tmp_path):
    commands = """compute energy all pe/atom
dump some all custom 1 some.dump id
dump_modify some sort id thresh fx > 0.0 thresh c_energy < -200.0
run 0
undump some
"""
    assert_end_is_the_models(tmp_path, archives["float64"], triclinic_silica, commands, ranks=2)
    atoms = triclinic_silica.copy()
    atoms.calc = AllegroCalculator(archives["float64"])
    chosen = (atoms.get_forces()[:, 0] > 0.0) & (atoms.get_potential_energies() < -200.0)
    assert 0 < chosen.sum() < (atoms.get_forces()[:, 0] > 0.0).sum()
    written = (tmp_path / "some.dump").read_text().partition("ITEM: ATOMS id")[2].split()
    assert [int(number) for number in written] == list(np.flatnonzero(chosen) + 1)
