"""Building a set on disk: units, filters, parts; whole or not at all."""

import os
import signal

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from allegro_dist import files
from allegro_dist.data.build import BuildOptions, build_set
from allegro_dist.data.stored import open_set
from allegro_dist.data.structure import DataError, read_structures
from tests.data.frames import labelled_atoms
from tests.training.ranks import CONTEXT


@pytest.fixture
def build(tmp_path):
    """build(frames, option=...) -> (what became of them, the set's structures)."""

    def run(frames, **options):
        files = [str(tmp_path / f"{n}.xyz") for n in range(len(frames))] if isinstance(frames[0], list) else None
        for file, some in zip(files or [str(tmp_path / "0.xyz")], frames if files else [frames], strict=True):
            write(file, some)
        built = build_set(tmp_path / "set.h5", files or [str(tmp_path / "0.xyz")], BuildOptions(r_max=3.0, **options))
        return built, read_structures(tmp_path / "set.h5")

    return run


def relabelled(atoms, **results):
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def sources(name):
    return sorted(s.source.rpartition("/")[2] for s in open_set(name).structures())


def test_md17_arrays_are_converted_by_the_stated_unit(tmp_path):
    positions = np.random.default_rng(0).normal(0, 2, (3, 4, 3))
    forces = np.random.default_rng(1).normal(0, 5, (3, 4, 3))
    np.savez(tmp_path / "a.npz", nuclear_charges=[6, 1, 1, 8], coords=positions, energies=[-1e5, -2e5, -3e5],
             forces=forces)  # fmt: skip
    build_set(tmp_path / "set.h5", [str(tmp_path / "a.npz")], BuildOptions(r_max=5.0, energy_unit="kcal/mol"))
    frames = read_structures(tmp_path / "set.h5")
    kcal = 4184 / 96485.33212  # eV: J/kcal over C/mol (Faraday's constant, CODATA 2018)
    assert [s.energy for s in frames] == pytest.approx([-1e5 * kcal, -2e5 * kcal, -3e5 * kcal], rel=1e-8)
    np.testing.assert_allclose(frames[1].forces, forces[1] * kcal, rtol=1e-8)
    np.testing.assert_array_equal(frames[2].positions, positions[2])
    assert frames[0].symbols == ("C", "H", "H", "O") and frames[0].pbc == (False, False, False)


def test_atomic_units_are_converted(build):
    atoms = labelled_atoms(0)
    _, (frame,) = build([atoms], energy_unit="Hartree", length_unit="Bohr")
    hartree, bohr = 27.211386, 0.52917721
    np.testing.assert_allclose(frame.positions, atoms.positions * bohr, rtol=1e-6)
    np.testing.assert_allclose(frame.forces, atoms.get_forces() * hartree / bohr, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(frame.stress, atoms.get_stress(voigt=False) * hartree / bohr**3, rtol=1e-6, atol=1e-6)


def test_force_ceiling_leaves_frames_out(build):
    frames = [labelled_atoms(n) for n in range(8)]
    largest = [np.linalg.norm(a.get_forces(), axis=1).max() for a in frames]
    ceiling = float(np.median(largest))
    built, kept = build(frames, max_force=ceiling)
    assert len(kept) == sum(f <= ceiling for f in largest) == 8 - built.left_out["force above the ceiling"]


def test_duplicates_are_left_out_whatever_their_labels(build):
    frames = [labelled_atoms(n) for n in range(4)]
    built, kept = build([*frames, relabelled(frames[1], energy=0.0), frames[2]])
    assert len(kept) == 4 and built.left_out == {"duplicate": 2}
    assert kept[1].energy == pytest.approx(frames[1].get_potential_energy(), abs=1e-6)


def test_duplicates_stay_when_asked(build):
    _, kept = build([labelled_atoms(0), labelled_atoms(0)], keep_duplicates=True)
    assert len(kept) == 2


def test_outlying_energies_are_left_out_by_composition(build):
    rng = np.random.default_rng(0)
    shifts = {"Si": -100.0, "O": -430.0, "H": -13.0}
    frames = []
    for n in range(40):
        atoms = labelled_atoms(n, symbols=("Si4O3H", "SiO2H4", "Si3O2")[n % 3])
        energy = sum(shifts[s] for s in atoms.symbols) + len(atoms) * rng.normal(0, 0.02)
        frames.append(relabelled(atoms, energy=energy + (3.0 if n == 17 else 0.0), forces=atoms.get_forces()))
    built, kept = build(frames, outliers=10.0)
    assert built.left_out == {"outlying energy": 1}
    assert not any(s.source.endswith("frame 17") for s in kept)


def test_frames_may_lack_forces_or_stress(build):
    atoms = labelled_atoms(0)
    only_energy, no_stress = relabelled(labelled_atoms(1), energy=1.0), labelled_atoms(2)
    no_stress.calc.results.pop("stress")
    _, kept = build([atoms, only_energy, no_stress])
    assert [(s.forces is not None, s.stress is not None) for s in kept] == [(True, True), (False, False), (True, False)]


def test_repeated_cells_are_stored_once_and_drawn_as_crystals(build, tmp_path):
    frames = []
    for n in range(10):
        atoms = bulk("Si", a=5.3 + 0.05 * n).repeat(2)
        frames.append(relabelled(atoms, energy=-16.0 + 0.1 * n, forces=np.zeros((16, 3)), stress=np.eye(3) * n))
    lone = relabelled(Atoms("Si"), energy=-1.0)
    built, kept = build([*frames, lone], primitive=True, val=0.2)
    assert built.repeats == (10, 160, 20)
    assert built.parts == {"train": 9, "val": 2}  # the isolated atom is not drawn, two of ten crystals are
    assert sorted(s.energy for s in kept) == pytest.approx([*(-2.0 + 0.0125 * np.arange(10)), -1.0])
    assert "0.xyz, frame 10" in sources(f"{tmp_path}/set.h5@train")
    assert open_set(tmp_path / "set.h5").isolated_energies() == {"Si": -1.0}


def test_set_of_isolated_atoms_has_no_edges(build, tmp_path):
    lone = relabelled(Atoms("Si"), energy=-1.0)
    _, kept = build([lone, relabelled(Atoms("O"), energy=-2.0)])
    cutoffs = torch.full((2, 2), 3.0, dtype=torch.float64)
    batch = open_set(tmp_path / "set.h5").graphs(("O", "Si"), cutoffs, torch.float64).batch([0, 1])
    assert [s.symbols for s in kept] == [("Si",), ("O",)]
    assert batch.edge_vectors.shape == (0, 3) and batch.energy.tolist() == [-1.0, -2.0]


def test_fractions_are_drawn_by_the_seed(build, tmp_path):
    frames = [labelled_atoms(n) for n in range(20)]
    drawn = []
    for seed in (0, 0, 1):
        built, _ = build(frames, val=0.2, test=0.1, seed=seed)
        assert built.parts == {"train": 14, "val": 4, "test": 2}
        drawn.append(sources(f"{tmp_path}/set.h5@val"))
    assert drawn[0] == drawn[1] != drawn[2]


def test_groups_are_not_torn_apart(build, tmp_path):
    frames = [labelled_atoms(n) for n in range(24)]
    for n, atoms in enumerate(frames):
        atoms.info["trajectory"] = f"run {n // 4}"
    build(frames, val=0.3, split_by="trajectory")
    groups = [
        {read(tmp_path / "0.xyz", int(s.source.split()[-1])).info["trajectory"] for s in open_set(name).structures()}
        for name in (f"{tmp_path}/set.h5@train", f"{tmp_path}/set.h5@val")
    ]
    assert groups[1] and not groups[0] & groups[1] and len(groups[0] | groups[1]) == 6


def test_files_are_not_torn_apart(build, tmp_path):
    build([[labelled_atoms(4 * k + n) for n in range(4)] for k in range(5)], test=0.2, split_by="file")
    assert len({s.rpartition(",")[0] for s in sources(f"{tmp_path}/set.h5@test")}) == 1
    assert len(sources(f"{tmp_path}/set.h5@test")) == 4


def test_named_file_becomes_a_part(build, tmp_path):
    write(tmp_path / "held.xyz", [labelled_atoms(n) for n in (90, 91)])
    built, _ = build([labelled_atoms(n) for n in range(10)], val=(str(tmp_path / "held.xyz"),), test=0.2)
    assert built.parts == {"train": 8, "val": 2, "test": 2}
    assert sources(f"{tmp_path}/set.h5@val") == ["held.xyz, frame 0", "held.xyz, frame 1"]


def test_sets_are_joined(build, tmp_path):
    build([labelled_atoms(n) for n in range(3)])
    write(tmp_path / "more.xyz", labelled_atoms(3))
    joined = build_set(tmp_path / "j.h5", [str(tmp_path / "set.h5"), str(tmp_path / "more.xyz")],
                       BuildOptions(r_max=4.0))  # fmt: skip
    assert joined.kept == 4 and sources(tmp_path / "j.h5")[-1] == "more.xyz, frame 0"


def test_missing_group_key_is_named(build):
    with pytest.raises(DataError, match="frame 0: no 'phase' to split by; the frame has "):
        build([labelled_atoms(0)], split_by="phase", val=0.5)


def test_too_few_groups_to_split_are_refused(build):
    frames = [labelled_atoms(n) for n in range(4)]
    for atoms in frames:
        atoms.info["phase"] = "liquid"
    with pytest.raises(DataError, match="4 frames in 1 groups are too few"):
        build(frames, split_by="phase", val=0.5)


def test_nothing_left_is_refused_with_the_reasons(build):
    with pytest.raises(DataError, match="no frame is left of 2: 2 force above the ceiling"):
        build([labelled_atoms(0), labelled_atoms(1)], max_force=1e-9)


def test_failed_build_leaves_what_was_there(build, tmp_path):
    build([labelled_atoms(n) for n in range(3)])
    before = (tmp_path / "set.h5").read_bytes()
    bad = labelled_atoms(9)
    bad.calc.results["forces"][1, 1] = np.inf
    with pytest.raises(DataError, match="frame 1: forces is not finite"):
        build([labelled_atoms(8), bad])
    assert (tmp_path / "set.h5").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"0.xyz", "set.h5"}


def build_and_die(path, frames):
    """A build that is killed when all is written but the set's name."""
    files.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
    build_set(path, frames, BuildOptions(r_max=3.0))


def test_killed_build_leaves_the_set_that_was_there(build, tmp_path):
    build([labelled_atoms(n) for n in range(3)])
    before = (tmp_path / "set.h5").read_bytes()
    write(tmp_path / "other.xyz", [labelled_atoms(n) for n in range(5)])
    process = CONTEXT.Process(target=build_and_die, args=(tmp_path / "set.h5", [str(tmp_path / "other.xyz")]))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "set.h5").read_bytes() == before


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"coords": np.zeros((2, 1, 3))}, "expected arrays of atomic numbers and positions, named numbers: nuclear_"),
        ({"z": [1], "R": np.zeros((2, 2, 3))}, r"positions: expected shape \[F, 1, 3\], got \[2, 2, 3\]"),
        ({"z": [1], "R": np.zeros((2, 1, 3)), "E": [0.0]}, r"energies: expected shape \[2\], got \[1\]"),
        ({"z": [1], "R": np.zeros((2, 1, 3)), "E": [0.0, np.nan]}, "a.npz, frame 1: energies not finite"),
    ],
)
def test_npz_of_other_form_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_structures(tmp_path / "a.npz")
