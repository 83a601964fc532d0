"""Several archives in one pair_coeff: mean or first forces, and the deviation of the members' forces."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from allegro_dist.deploy.archive import save_archive
from allegro_dist.simulate.calculator import AllegroCalculator
from tests.conftest import MIXED_CUTOFFS, TYPE_NAMES, make_potential
from tests.lammps.lammps_run import last_dump, last_thermo, pair_allegro, run_lammps, start_lmp, write_data

INPUT = """\
units {units}
atom_style atomic
box tilt large
read_data structure.data
{pair}
compute spread all pair allegro
fix spread all pair 1 allegro deviation {flag}
fix move all nve
timestep 0.0002
thermo {every}
thermo_style custom step pe c_spread[1] c_spread[2]
thermo_modify format float %.17g
dump atoms all custom 1 atoms.dump id x y z f_spread
dump_modify atoms sort id format float %.17g
{commands}
"""


@pytest.fixture(scope="module")
def committee(tmp_path_factory):
    """Three archives with weights of their own."""
    folder = tmp_path_factory.mktemp("committee")
    for seed in (3, 4, 5):
        save_archive(folder / f"{seed}.pth", make_potential(seed, dtype="float64", pair_cutoffs=MIXED_CUTOFFS))
    return [folder / f"{seed}.pth" for seed in (3, 4, 5)]


@pytest.fixture(scope="module")
def members(committee, triclinic_silica):
    """What the Python model says of each member: energies [K, N], forces [K, N, 3], deviations [N]."""
    energies, forces = [], []
    for archive in committee:
        atoms = triclinic_silica.copy()
        atoms.calc = AllegroCalculator(archive)
        energies.append(atoms.get_potential_energies())
        forces.append(atoms.get_forces())
    spread = np.sqrt(((np.array(forces) - np.mean(forces, axis=0)) ** 2).sum(2).mean(0))
    return SimpleNamespace(energies=np.array(energies), forces=np.array(forces), deviations=spread)


def all_of(committee) -> str:
    return " ".join(str(path) for path in committee)


@pytest.mark.parametrize("ranks, device", [(1, "cpu"), (2, "cpu"), (4, "cpu"), (2, "emulated")])
def test_mean_is_the_mean_of_the_members(ranks, device, committee, members, triclinic_silica, tmp_path):
    pair = pair_allegro(all_of(committee), TYPE_NAMES, f"device {device}")
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, ranks=ranks, threads=2)
    np.testing.assert_allclose(found.energies, members.energies.mean(0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.forces, members.forces.mean(0), rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.sum_of_virials, found.virial, rtol=0, atol=1e-12 * np.abs(found.virial).max())


def test_first_is_the_first_member(committee, members, triclinic_silica, tmp_path):
    pair = pair_allegro(all_of(committee), TYPE_NAMES, "committee first")
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair)
    np.testing.assert_allclose(found.energies, members.energies[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.forces, members.forces[0], rtol=0, atol=1e-8)


def run(folder, atoms, pair, commands, *, ranks=1, units="metal", flag=1, every=1):
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    text = INPUT.format(units=units, pair=pair, flag=flag, every=every, commands=commands)
    done = start_lmp(folder, text, ranks)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout, last_dump(folder, len(atoms))[:, 4]


@pytest.mark.parametrize("forces", ("mean", "first"))
@pytest.mark.parametrize("ranks, device", [(1, "cpu"), (2, "cpu"), (4, "cpu"), (1, "emulated"), (2, "emulated")])
def test_deviations_are_those_of_the_members(ranks, device, forces, committee, members, triclinic_silica, tmp_path):
    pair = pair_allegro(all_of(committee), TYPE_NAMES, f"committee {forces} device {device}")
    output, per_atom = run(tmp_path, triclinic_silica, pair, "run 0", ranks=ranks)
    np.testing.assert_allclose(per_atom, members.deviations, rtol=0, atol=1e-8)
    largest, mean = last_thermo(output)[2:]
    assert largest == pytest.approx(members.deviations.max(), abs=1e-8)
    assert mean == pytest.approx(members.deviations.mean(), abs=1e-8)


def test_deviations_are_in_lammps_units(committee, members, triclinic_silica, tmp_path):
    pair = pair_allegro(all_of(committee), TYPE_NAMES)
    _, per_atom = run(tmp_path, triclinic_silica, pair, "run 0", units="real")
    np.testing.assert_allclose(per_atom, members.deviations * 23.060547830619, rtol=1e-7)


def test_deviations_between_thermo_steps_are_new_where_asked_for(committee, triclinic_silica, tmp_path):
    """Step 3 has no thermo output: the deviation there comes at fix pair's wish alone."""
    pair = pair_allegro(all_of(committee), TYPE_NAMES)
    _, seldom = run(tmp_path, triclinic_silica, pair, "run 3 post no", every=100)
    _, always = run(tmp_path, triclinic_silica, pair, "run 3 post no", every=1)
    np.testing.assert_array_equal(seldom, always)


def test_run_halts_at_a_threshold(committee, members, triclinic_silica, tmp_path):
    pair = pair_allegro(all_of(committee), TYPE_NAMES)
    halt = "variable spread equal c_spread[1]\nfix stop all halt 2 v_spread > {} error soft\nrun 10"
    low, high = 0.5 * members.deviations.max(), 100 * members.deviations.max()
    output, _ = run(tmp_path, triclinic_silica, pair, halt.format(low), ranks=2)
    assert last_thermo(output)[0] == 2
    output, _ = run(tmp_path, triclinic_silica, pair, halt.format(high), ranks=2)
    assert last_thermo(output)[0] == 10


def test_snapshots_beyond_a_threshold_alone_are_written(committee, members, triclinic_silica, tmp_path):
    """For active learning: a dump that skips the steps at which the members agree."""
    pair = pair_allegro(all_of(committee), TYPE_NAMES)
    every, doubtful = "run 6", "variable agree equal c_spread[1]<{}\ndump doubt all custom 1 doubt.dump id x y z\n"
    output, _ = run(tmp_path, triclinic_silica, pair, every)
    rows = [line.split() for line in output.splitlines() if len(line.split()) == 4 and line.split()[0].isdigit()]
    spread = {int(row[0]): float(row[2]) for row in rows}
    threshold = np.mean(sorted(spread.values())[2:4])
    commands = doubtful.format(f"{threshold:.17g}") + "dump_modify doubt skip v_agree\n" + every
    run(tmp_path, triclinic_silica, pair, commands, ranks=2)
    written = (tmp_path / "doubt.dump").read_text().split("ITEM: TIMESTEP\n")[1:]
    assert [int(text.split()[0]) for text in written] == [step for step in spread if spread[step] > threshold]


def failure(folder, atoms, pair) -> str:
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    run = start_lmp(folder, f"units metal\natom_style atomic\nbox tilt large\nread_data structure.data\n{pair}\nrun 0")
    assert run.returncode != 0
    return " ".join((run.stdout + run.stderr).split())


def test_members_must_have_the_same_types_and_cutoffs(committee, lj_archive, triclinic_silica, tmp_path):
    text = failure(tmp_path, triclinic_silica, pair_allegro(f"{committee[0]} {lj_archive}", TYPE_NAMES))
    assert "has other types, or another order of them, than" in text
    save_archive(tmp_path / "wide.pth", make_potential(3, dtype="float64"))
    text = failure(tmp_path, triclinic_silica, pair_allegro(f"{committee[0]} {tmp_path / 'wide.pth'}", TYPE_NAMES))
    assert "has other cutoffs than" in text


def test_too_many_elements_are_told_from_archives(committee, triclinic_silica, tmp_path):
    text = failure(tmp_path, triclinic_silica, pair_allegro(committee[0], [*TYPE_NAMES, "Si"]))
    assert "the last 3 arguments are taken for elements" in text and "archive 'Si' does not exist" in text


def test_unknown_committee_rule_names_the_known(committee, triclinic_silica, tmp_path):
    text = failure(tmp_path, triclinic_silica, pair_allegro(committee[0], TYPE_NAMES, "committee best"))
    assert "committee must be mean or first, got best" in text
