"""The pair style beside LAMMPS's own: energies and forces add up, whoever handles which types."""

from __future__ import annotations

import numpy as np
import pytest

from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import TYPE_NAMES
from tests.lammps.lammps_run import last_thermo, pair_allegro, run_lammps, start_lmp, write_data

LJ = "pair_coeff 1 3 lj/cut 0.01 2.0\npair_coeff 2 3 lj/cut 0.02 1.8\npair_coeff 3 3 lj/cut 0.015 1.5"


@pytest.mark.parametrize("ranks, device", [(1, "cpu"), (2, "cpu"), (1, "emulated"), (2, "emulated")])
def test_null_types_are_left_to_the_other_style(archives, triclinic_silica, tmp_path, ranks, device):
    """H by lj/cut, Si and O by the model, which does not see H."""
    atoms, archive = triclinic_silica, archives["float64"]
    both = f"pair_style hybrid allegro device {device} lj/cut 6.0\npair_coeff * * allegro {archive} Si O NULL\n{LJ}"
    rest = f"pair_style hybrid zero 5.0 lj/cut 6.0\npair_coeff 1*2 1*2 zero\n{LJ}"
    together = run_lammps(tmp_path, atoms, TYPE_NAMES, both, ranks=ranks)
    alone = run_lammps(tmp_path, atoms, TYPE_NAMES, rest, ranks=ranks)
    ours = np.array([name != "H" for name in atoms.get_chemical_symbols()])
    assert 0 < ours.sum() < len(atoms)
    model = atoms[ours]
    model.calc = AllegroCalculator(archive)
    energies, forces = np.zeros(len(atoms)), np.zeros((len(atoms), 3))
    energies[ours], forces[ours] = model.get_potential_energies(), model.get_forces()
    np.testing.assert_allclose(together.energies, alone.energies + energies, rtol=0, atol=1e-10)
    np.testing.assert_allclose(together.forces, alone.forces + forces, rtol=0, atol=1e-10)
    np.testing.assert_allclose(together.energy, alone.energy + energies.sum(), rtol=1e-12)


def assert_is_the_sum(folder, atoms, ranks, overlay: str, *parts: str, names=TYPE_NAMES) -> None:
    """All of a run's results under one pair style are the sums of those under others."""
    runs = [run_lammps(folder, atoms, names, pair, ranks=ranks) for pair in (overlay, *parts)]
    for quantity in ("energy", "energies", "forces", "virials", "virial"):
        together, *apart = (np.asarray(getattr(run, quantity)) for run in runs)
        np.testing.assert_allclose(together, sum(apart), rtol=0, atol=1e-10 * max(1, abs(together).max()))


@pytest.mark.parametrize("ranks", (1, 2))
@pytest.mark.parametrize(
    "style, coefficients",
    [
        ("zbl 2.0 3.0", ["* * zbl 14 14", "2 2 zbl 8 8", "3 3 zbl 1 1", "1 2 zbl 14 8", "1 3 zbl 14 1", "2 3 zbl 8 1"]),
        ("lj/cut 4.0", ["* * lj/cut 0.01 1.5"]),
    ],
    ids=("zbl", "lj/cut"),
)
def test_overlay_is_the_sum(archives, triclinic_silica, tmp_path, style, coefficients, ranks):
    name = style.split()[0]
    own = "\n".join(f"pair_coeff {text}" for text in coefficients)
    plain = f"pair_style {style}\n" + own.replace(f"{name} ", "")
    overlay = f"pair_style hybrid/overlay allegro {style}\npair_coeff * * allegro {archives['float64']} Si O H\n" + own
    assert_is_the_sum(tmp_path, triclinic_silica, ranks, overlay, plain, pair_allegro(archives["float64"], TYPE_NAMES))


@pytest.mark.parametrize("ranks", (1, 2))
def test_overlay_with_a_table_is_the_sum(archives, triclinic_silica, tmp_path, ranks):
    """A dispersion term as a table, damped at short range."""
    r = np.linspace(0.5, 6.0, 500)
    energy, force = -5.0 / (r**6 + 50.0), -30.0 * r**5 / (r**6 + 50.0) ** 2
    rows = [f"{k} {a:.15g} {b:.15g} {c:.15g}" for k, (a, b, c) in enumerate(zip(r, energy, force), 1)]
    (tmp_path / "d3.table").write_text("\n".join(["D3", "N 500", "", *rows]) + "\n")
    plain = "pair_style table linear 1000\npair_coeff * * d3.table D3 5.5"
    overlay = "pair_style hybrid/overlay allegro table linear 1000\npair_coeff * * table d3.table D3 5.5\n"
    overlay += f"pair_coeff * * allegro {archives['float64']} Si O H"
    assert_is_the_sum(tmp_path, triclinic_silica, ranks, overlay, plain, pair_allegro(archives["float64"], TYPE_NAMES))


@pytest.mark.parametrize("ranks", (1, 2))
def test_overlay_with_long_range_charges_is_the_sum(archives, triclinic_silica, tmp_path, ranks):
    symbols = triclinic_silica.get_chemical_symbols()
    numbers = [symbols.count(name) for name in TYPE_NAMES]
    charges = (0.8, -0.5, (0.5 * numbers[1] - 0.8 * numbers[0]) / numbers[2])
    commands = [f"set type {k} charge {charge:.17g}" for k, charge in enumerate(charges, 1)]
    ewald = "\n".join(["fix charges all property/atom q ghost yes", *commands, "kspace_style ewald 1e-6"])
    plain = f"{ewald}\npair_style coul/long 5.0\npair_coeff * *"
    overlay = f"{ewald}\npair_style hybrid/overlay allegro coul/long 5.0\npair_coeff * * coul/long\n"
    overlay += f"pair_coeff * * allegro {archives['float64']} Si O H"
    assert_is_the_sum(tmp_path, triclinic_silica, ranks, overlay, plain, pair_allegro(archives["float64"], TYPE_NAMES))


def test_two_lammps_types_of_one_element(archives, triclinic_silica, tmp_path):
    """Type 4 is oxygen, too: with the cutoffs of oxygen's ordered pairs."""
    one = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair_allegro(archives["float64"], TYPE_NAMES))
    symbols = np.array(triclinic_silica.get_chemical_symbols())
    marked = triclinic_silica.copy()
    oxygens = np.flatnonzero(symbols == "O")
    symbols[oxygens[::2]] = "F"  # a name for the fourth type of the data file
    marked.set_chemical_symbols(list(symbols))
    pair = pair_allegro(archives["float64"], ["Si", "O", "H", "O"])
    two = run_lammps(tmp_path, marked, [*TYPE_NAMES, "F"], pair)
    np.testing.assert_allclose(two.energies, one.energies, rtol=0, atol=1e-10)
    np.testing.assert_allclose(two.forces, one.forces, rtol=0, atol=1e-10)


def test_two_models_at_once(archives, lj_archive, mixed_crystal, tmp_path):
    """Two archives in one run, each with an engine of its own: the same model twice is twice the energy."""
    names = ["Ar", "Kr"]
    one = run_lammps(tmp_path, mixed_crystal, names, pair_allegro(lj_archive, names))
    ours = "\n".join(f"pair_coeff * * allegro {k} {lj_archive} Ar Kr" for k in (1, 2))
    two = run_lammps(tmp_path, mixed_crystal, names, f"pair_style hybrid/overlay allegro allegro block 50\n{ours}")
    np.testing.assert_allclose(two.energies, 2 * one.energies, rtol=1e-12)
    np.testing.assert_allclose(two.forces, 2 * one.forces, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ranks", (1, 2))
def test_two_different_models_at_once_are_the_sum(archives, lj_archive, mixed_crystal, tmp_path, ranks):
    """Of other families and cutoffs, by two evaluators."""
    names, other = ["Ar", "Kr"], archives["float64"]
    overlay = "pair_style hybrid/overlay allegro allegro block 50\n"
    overlay += f"pair_coeff * * allegro 1 {lj_archive} Ar Kr\npair_coeff * * allegro 2 {other} Si O"
    parts = pair_allegro(lj_archive, names), pair_allegro(other, ["Si", "O"])
    assert_is_the_sum(tmp_path, mixed_crystal, ranks, overlay, *parts, names=names)


COMPUTES = """\
units metal
box tilt large
read_data structure.data
{pair}
{commands}
thermo_style custom step pe c_sums[*]
thermo_modify format float %.17g
run 0
"""
CENTROID = "compute stress all centroid/stress/atom NULL virial\ncompute sums all reduce sum c_stress[*]"


def test_centroid_stress_beside_a_pair_style_is_the_sum(archives, triclinic_silica, tmp_path):
    write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
    ours = pair_allegro(archives["float64"], TYPE_NAMES)
    plain = "pair_style lj/cut 4.0\npair_coeff * * 0.01 1.5"
    overlay = "pair_style hybrid/overlay allegro lj/cut 4.0\npair_coeff * * lj/cut 0.01 1.5\n"
    overlay += f"pair_coeff * * allegro {archives['float64']} Si O H"
    sums = []
    for pair in (overlay, ours, plain):
        run = start_lmp(tmp_path, COMPUTES.format(pair=pair, commands=CENTROID), ranks=2)
        assert run.returncode == 0, run.stdout[-2000:]
        sums.append(last_thermo(run.stdout)[1:])
    np.testing.assert_allclose(sums[0], sums[1] + sums[2], rtol=0, atol=1e-10 * abs(sums[0]).max())


def test_group_group_is_refused(archives, triclinic_silica, tmp_path):
    """A many-body energy is no sum over pairs of groups."""
    write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
    commands = "group si type 1\ngroup o type 2\ncompute sums si group/group o"
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    run = start_lmp(tmp_path, COMPUTES.format(pair=pair, commands=commands))
    assert run.returncode != 0 and "does not support compute group/group" in run.stdout
