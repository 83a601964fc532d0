"""The pair style where the engine builds the edges: the GPU's code played by the host, beside the CPU's kernels."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
import pytest
from ase import Atoms

from allegro_dist.deploy.archive import save_archive
from allegro_dist.simulate.lammps_runtime import lmp_command, lmp_environment
from tests.conftest import TYPE_NAMES, make_potential, silica
from tests.lammps.lammps_run import MPIEXEC, pair_allegro, run_lammps, start_lmp, write_data

HOT = "\nvelocity all create 4000 17 loop geom\nneigh_modify every 1 delay 0 check yes\ntimestep 0.0005\n"


def run(folder, archive, atoms, device, options="", commands="", **settings):
    pair = pair_allegro(archive, TYPE_NAMES, f"device {device} {options}") + commands
    return run_lammps(folder, atoms, TYPE_NAMES, pair, **settings)


def assert_same(found, expected, tolerance):
    """Relative to the root mean square of each quantity."""
    for name in ("energies", "forces", "virials", "virial", "positions"):
        a, b = getattr(found, name), getattr(expected, name)
        scale = np.sqrt(np.mean(b**2))
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * scale, err_msg=name)
    assert found.energy == pytest.approx(expected.energy, rel=tolerance)
    assert found.sum_of_energies == pytest.approx(found.energy, rel=1e-12)


@pytest.mark.parametrize("ranks", (1, 2))
def test_results_are_the_cpus(ranks, archives, triclinic_silica, tmp_path):
    expected = run(tmp_path, archives["float64"], triclinic_silica, "cpu")
    assert_same(run(tmp_path, archives["float64"], triclinic_silica, "emulated", ranks=ranks), expected, 1e-10)


@pytest.mark.parametrize("ranks", (1, 2))
def test_lists_are_kept_until_lammps_builds_others(ranks, archives, triclinic_silica, tmp_path):
    """Builds in the middle of a run; a list out of date would miss edges, since the skin is used up."""
    settings = dict(commands=HOT, steps=24, skin=0.3, ranks=ranks)
    expected = run(tmp_path, archives["float64"], triclinic_silica, "cpu", **settings)
    found = run(tmp_path, archives["float64"], triclinic_silica, "emulated", **settings)
    builds = int(re.search(r"Neighbor list builds = (\d+)", found.output)[1])
    assert 2 <= builds < 20
    assert_same(found, expected, 1e-9)


@pytest.mark.parametrize(
    "between",
    [
        "displace_atoms all random 0.1 0.1 0.1 17",
        "set group all type/ratio 3 0.5 17",
        "group few id > 40\ndelete_atoms group few\nreset_atoms id",
        "reset_timestep 0",
    ],
    ids=("displaced", "other types", "fewer atoms", "time set back"),
)
def test_lists_of_an_earlier_run_are_forgotten(between, archives, triclinic_silica, tmp_path):
    commands = f"{HOT}fix first all nve\nrun 3 post no\n{between}\nunfix first\n"
    atoms = triclinic_silica[:40] if "delete" in between else triclinic_silica
    results = []
    for device in ("cpu", "emulated"):
        write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
        text = f"""units metal
box tilt large
read_data structure.data
{pair_allegro(archives["float64"], TYPE_NAMES, f"device {device}")}
{commands}
fix move all nve
dump atoms all custom 1 atoms.dump id x y z fx fy fz
dump_modify atoms sort id format float %.17g
run 3
"""
        done = start_lmp(tmp_path, text)
        assert done.returncode == 0, done.stdout[-2000:]
        lines = (tmp_path / "atoms.dump").read_text().splitlines()
        results.append(np.loadtxt(lines[-len(atoms) :], ndmin=2))
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-9 * abs(results[0]).max())


@pytest.mark.parametrize("options", ("block 1", "block 500", "memory 20K"))
def test_parts_of_the_list_change_no_bit_of_an_atom(options, archives, triclinic_silica, tmp_path):
    """Sums of integers: whoever adds first."""
    whole = run(tmp_path, archives["float64"], triclinic_silica, "emulated", steps=2)
    parts = run(tmp_path, archives["float64"], triclinic_silica, "emulated", options, steps=2)
    for name in ("forces", "energies", "virials", "positions"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)
    assert parts.energy == pytest.approx(whole.energy, rel=1e-13)


def test_memory_bounds_the_list_on_the_device(archives, triclinic_silica, tmp_path):
    found = run(tmp_path, archives["float64"], triclinic_silica, "emulated", "memory 20K")
    assert "blocks of at most 5120 listed neighbors" in found.output  # 4 bytes each


@pytest.mark.parametrize("ranks, megabytes", [(1, 32), (2, 32), (5, 16)])
def test_memory_is_by_default_a_share_of_what_is_free(
    ranks, megabytes, archives, triclinic_silica, tmp_path, monkeypatch
):
    """Half of it; there are four emulated GPUs, and the fifth rank shares the first one's."""
    monkeypatch.setenv("ALLEGRO_EMULATED_MEMORY", str(64 * 2**20))
    found = run(tmp_path, archives["float64"], triclinic_silica, "emulated", ranks=ranks)
    listed = megabytes * 2**20 // 4
    assert f"memory {megabytes} MB (of a rank's share of emulated:0): blocks of at most {listed} " in found.output


def test_lists_beyond_the_default_go_in_parts(archives, triclinic_silica, tmp_path, monkeypatch):
    whole = run(tmp_path, archives["float64"], triclinic_silica, "emulated", steps=2)
    monkeypatch.setenv("ALLEGRO_EMULATED_MEMORY", "2000")
    parts = run(tmp_path, archives["float64"], triclinic_silica, "emulated", steps=2)
    assert "blocks of at most 250 listed neighbors" in parts.output
    np.testing.assert_array_equal(parts.forces, whole.forces)


def test_ranks_without_atoms_change_nothing(archives, tmp_path):
    atoms = silica(seed=9)
    atoms.set_cell([60.0, 20.0, 20.0])
    atoms.positions += 3.0
    settings = dict(ranks=4, processors="processors 4 1 1", steps=3)
    expected = run(tmp_path, archives["float64"], atoms, "cpu", **settings)
    assert_same(run(tmp_path, archives["float64"], atoms, "emulated", **settings), expected, 1e-10)


@pytest.mark.parametrize("style", ("real", "nano"))
def test_units_are_those_of_the_cpus(style, archives, triclinic_silica, tmp_path):
    atoms = triclinic_silica.copy()
    length = {"real": 1.0, "nano": 0.1}[style]
    atoms.set_cell(atoms.cell.array * length, scale_atoms=True)
    settings = dict(head=f"units {style}", skin=length)
    expected = run(tmp_path, archives["float64"], atoms, "cpu", **settings)
    found = run(tmp_path, archives["float64"], atoms, "emulated", **settings)
    assert_same(found, expected, 1e-10)
    np.testing.assert_allclose(found.sum_of_virials, expected.sum_of_virials, rtol=1e-10)


def failure(folder, archive, distance, device="emulated") -> str:
    """What a two-rank run says of two atoms that are so close, on one line."""
    atoms = Atoms("SiO2", positions=[[3, 3, 9], [3, 3, 3], [3, 3, 3 + distance]], cell=[12.0] * 3, pbc=True)
    write_data(folder / "structure.data", atoms, TYPE_NAMES)
    pair = pair_allegro(archive, TYPE_NAMES, f"device {device}")
    done = start_lmp(folder, f"units metal\nread_data structure.data\n{pair}\nrun 0", ranks=2)
    assert done.returncode != 0
    return " ".join((done.stdout + done.stderr).split())


def test_result_that_is_not_finite_names_the_atom(archives, tmp_path):
    text = failure(tmp_path, archives["float64"], 0.0)
    assert "not finite for a center of type O with 1 neighbors" in text and "(atom ID 2)" in text
    assert text.count("ERROR") == 1


def test_force_beyond_the_sums_range_names_the_atom(tmp_path):
    save_archive(tmp_path / "zbl.pth", make_potential(3, dtype="float64", zbl=True))
    text = failure(tmp_path, tmp_path / "zbl.pth", 1e-7)
    assert "an edge gradient is above" in text and "which is too large, for a center of type O" in text
    assert "(atom ID 2)" in text


def test_partitions_take_gpus_in_turn(archives, triclinic_silica, tmp_path):
    write_data(tmp_path / "structure.data", triclinic_silica, TYPE_NAMES)
    pair = pair_allegro(archives["float64"], TYPE_NAMES, "device emulated")
    (tmp_path / "in.both").write_text(f"units metal\nbox tilt large\nread_data structure.data\n{pair}\nrun 0\n")
    command = [str(MPIEXEC), "-n", "4", *lmp_command(["-in", "in.both", "-partition", "2x2"])]
    environment = lmp_environment(os.environ)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for partition, gpu in ((0, 0), (1, 2)):  # of their first ranks
        assert f"on emulated:{gpu};" in (tmp_path / f"log.lammps.{partition}").read_text()
