"""What must not matter: ranks, threads, empty ranks, block size; and sums over atoms equal the totals."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pytest
from ase import Atoms
from safetensors.torch import load

from tests.conftest import TYPE_NAMES, silica
from tests.lammps.lammps_run import LammpsResult, in_lammps_frame, pair_allegro, run_lammps


def assert_same(a: LammpsResult, b: LammpsResult, tolerance: float) -> None:
    assert a.energy == pytest.approx(b.energy, abs=tolerance * len(a.energies))
    for name in ("positions", "forces", "energies", "virials", "virial"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def on_one_rank(archives, triclinic_silica, tmp_path_factory):
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    return run_lammps(tmp_path_factory.mktemp("one"), triclinic_silica, TYPE_NAMES, pair, steps=3)


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_rank_count_changes_nothing(ranks, on_one_rank, archives, triclinic_silica, tmp_path):
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, ranks=ranks, steps=3)
    assert_same(found, on_one_rank, 1e-10)


def assert_identical(a: LammpsResult, b: LammpsResult) -> None:
    """Bit by bit."""
    assert a.energy == b.energy
    for name in ("positions", "forces", "energies", "virials", "virial"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_thread_count_changes_no_bit(threads, archives, triclinic_silica, tmp_path):
    pair = pair_allegro(archives["float32"], TYPE_NAMES, "block 40")
    one = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, steps=3)
    many = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, threads=threads, steps=3)
    assert f"using {threads} OpenMP thread(s)" in many.output
    assert_identical(many, one)


def test_threads_on_two_ranks_change_no_bit(archives, triclinic_silica, tmp_path):
    pair = pair_allegro(archives["float64"], TYPE_NAMES, "block 40")
    one = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, ranks=2, steps=3)
    assert_identical(run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, ranks=2, threads=3, steps=3), one)


@pytest.mark.parametrize("evaluator", ["fused", "torchscript"])
def test_more_threads_than_atoms_change_nothing(evaluator, archives, tmp_path):
    atoms = silica(seed=9)[:3]
    atoms.pbc = False
    atoms.set_cell([30.0, 30.0, 30.0])
    atoms.positions += 12.0
    pair = pair_allegro(archives["float64"], TYPE_NAMES, f"evaluator {evaluator}")
    one = run_lammps(tmp_path, atoms, TYPE_NAMES, pair, steps=3)
    assert_same(run_lammps(tmp_path, atoms, TYPE_NAMES, pair, threads=4, steps=3), one, 1e-11)
    found = run_lammps(tmp_path, atoms, TYPE_NAMES, pair, ranks=2, processors="processors 2 1 1", threads=4, steps=3)
    assert_same(found, one, 1e-11)


@pytest.mark.parametrize("block", [1, 40, 100000])
def test_block_size_changes_nothing(block, on_one_rank, archives, triclinic_silica, tmp_path):
    pair = pair_allegro(archives["float64"], TYPE_NAMES, f"block {block}")
    assert_same(run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, steps=3), on_one_rank, 1e-10)


@pytest.mark.parametrize(
    "options, block",
    [
        ("memory 1K", 18),  # 1024 / (32 of the edge + 24 of its gradient)
        ("memory 20000", 357),
        ("memory 10G", 2048),  # what the fused evaluator runs best with
    ],
)
def test_memory_sets_the_block(options, block, on_one_rank, archives, triclinic_silica, tmp_path):
    pair = pair_allegro(archives["float64"], TYPE_NAMES, options)
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, steps=3)
    assert f"blocks of at most {block} listed neighbors" in found.output
    assert_same(found, on_one_rank, 1e-10)


def test_memory_counts_what_torchscript_takes_for_an_edge(archives, triclinic_silica, tmp_path):
    with zipfile.ZipFile(archives["float64"]) as members:
        (name,) = (name for name in members.namelist() if name.endswith("engine.safetensors"))
        bytes_per_edge = float(load(members.read(name))["torchscript.bytes_per_edge"])
    pair = pair_allegro(archives["float64"], TYPE_NAMES, "memory 2M evaluator torchscript")
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, steps=0)
    assert f"blocks of at most {int(2**21 / (56 + bytes_per_edge))} listed neighbors" in found.output


CUSTOM_GRID = "# grid of four ranks, in an order of their own\n2 2 1\n3 1 1 1\n0 1 2 1\n2 2 1 1\n1 2 2 1\n"


@pytest.mark.parametrize(
    "grid", ["4 1 1", "1 2 2", "2 1 2 map zyx", "* * * grid twolevel 2 2 1 1", "2 2 1 grid custom grid.txt"]
)
def test_processor_grid_changes_nothing(grid, on_one_rank, archives, triclinic_silica, tmp_path):
    (tmp_path / "grid.txt").write_text(CUSTOM_GRID)
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, ranks=4, processors=f"processors {grid}", steps=3)
    assert_same(found, on_one_rank, 1e-10)


@pytest.mark.parametrize("ranks", [1, 2])
def test_order_and_images_of_atoms_change_nothing(ranks, on_one_rank, archives, triclinic_silica, tmp_path):
    rng = np.random.default_rng(8)
    order = rng.permutation(len(triclinic_silica))
    atoms = triclinic_silica[order]
    atoms.positions += rng.integers(-2, 3, (len(atoms), 3)) @ atoms.cell.array
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    found = run_lammps(tmp_path, atoms, TYPE_NAMES, pair, ranks=ranks, steps=3)
    assert found.energy == pytest.approx(on_one_rank.energy, rel=1e-10)
    for name in ("forces", "energies", "virials"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(on_one_rank, name)[order], rtol=0, atol=1e-9, err_msg=name
        )


def test_ranks_without_atoms_change_nothing(archives, tmp_path):
    atoms = silica(seed=9)
    atoms.set_cell([60.0, 20.0, 20.0])
    atoms.positions += 3.0
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    expected = run_lammps(tmp_path, atoms, TYPE_NAMES, pair, steps=3)
    found = run_lammps(tmp_path, atoms, TYPE_NAMES, pair, ranks=4, processors="processors 4 1 1", steps=3)
    assert_same(found, expected, 1e-10)


def test_thousands_of_atoms_on_eight_ranks_change_nothing(archives, tmp_path):
    """4,096 atoms in half of a box, so that four ranks are empty."""
    atoms = in_lammps_frame(silica(seed=11, repeat=(8, 8, 8)))
    atoms.cell[0] *= 2.0
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    expected = run_lammps(tmp_path, atoms, TYPE_NAMES, pair)
    found = run_lammps(tmp_path, atoms, TYPE_NAMES, pair, ranks=8, processors="processors 8 1 1")
    assert len(atoms) == 4096 and re.search(r"Nlocal: .* 0 min", found.output)
    assert found.energy == pytest.approx(expected.energy, rel=1e-10)
    np.testing.assert_allclose(found.energies, expected.energies, rtol=1e-10)
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-9)


@pytest.mark.parametrize("ranks", [1, 4])
def test_sums_over_atoms_equal_totals(ranks, archives, triclinic_silica: Atoms, tmp_path):
    pair = pair_allegro(archives["float64"], TYPE_NAMES)
    found = run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, ranks=ranks)
    assert found.sum_of_energies == pytest.approx(found.energy, rel=1e-12)
    scale = np.abs(found.virial).max()
    np.testing.assert_allclose(found.sum_of_virials, found.virial, rtol=0, atol=1e-12 * scale)


def test_hybrid_overlay_adds_the_pair_style(on_one_rank, archives, triclinic_silica, tmp_path):
    ours = f"pair_coeff * * allegro {archives['float64']} Si O H"
    pair = f"pair_style hybrid/overlay allegro zero 5.0\n{ours}\npair_coeff * * zero"
    assert_same(run_lammps(tmp_path, triclinic_silica, TYPE_NAMES, pair, steps=3), on_one_rank, 1e-10)
