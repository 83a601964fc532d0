"""Sets on disk give what the files gave that they were made from."""

import os
import shutil

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from allegro_dist.config import DataConfig
from allegro_dist.data.build import BuildOptions, build_set
from allegro_dist.data.dataset import load_frames, open_frames
from allegro_dist.data.set_file import pieces
from allegro_dist.data.stored import open_set
from allegro_dist.data.structure import DataError, read_structures
from tests.data.frames import labelled_atoms

TYPE_NAMES = ("Si", "H", "O")  # a model's order need not be that of atomic numbers
R_MAX = 4.0


def mixed_frames():
    """Crystals, molecules, slabs and an isolated atom; some lack forces or stress; some lie outside their cell."""
    frames = [labelled_atoms(n, symbols=("Si4O3H", "SiO2H4")[n % 2]) for n in range(6)]
    frames += [labelled_atoms(n, pbc=False) for n in (6, 7)] + [labelled_atoms(8, pbc=[True, True, False])]
    frames[1].calc = SinglePointCalculator(frames[1], energy=-1.0)
    frames[2].positions += [[3], [-2], [1], [0], [5], [0], [0], [0]] @ frames[2].cell.array[:1]
    frames[2].calc = SinglePointCalculator(frames[2], **labelled_atoms(2).calc.results)
    lone = Atoms("Si")
    lone.calc = SinglePointCalculator(lone, energy=-0.5)
    return [*frames, lone]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    write(folder / "frames.xyz", mixed_frames())
    build_set(folder / "set.h5", [str(folder / "frames.xyz")], BuildOptions(r_max=R_MAX))
    return str(folder / "frames.xyz"), str(folder / "set.h5")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cutoff", [R_MAX, 0.8 * R_MAX, 1.2 * R_MAX], ids=["as stored", "shorter", "longer"])
def test_batches_are_those_of_the_files_to_the_bit(files, cutoff, dtype):
    cutoffs = torch.full((3, 3), cutoff, dtype=torch.float64)
    in_memory, stored = (open_frames(f).graphs(TYPE_NAMES, cutoffs, dtype) for f in files)
    indices = [8, 0, 9, 2, 1, 6]
    expected, found = in_memory.batch(indices), stored.batch(indices)
    for name in expected._fields:
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("cutoff", [R_MAX, 0.8 * R_MAX, 1.2 * R_MAX], ids=["as stored", "shorter", "longer"])
def test_neighbors_of_each_type_are_counted_as_in_memory(files, cutoff):
    cutoffs = torch.full((3, 3), cutoff, dtype=torch.float64)
    in_memory, stored = (open_frames(f).graphs(TYPE_NAMES, cutoffs, torch.float64) for f in files)
    np.testing.assert_array_equal(stored.neighbor_counts(3), in_memory.neighbor_counts(3))


@pytest.mark.parametrize("counts", [[], [3], [5, 5, 5, 5], [1, 100, 1, 1], [0, 0, 9, 0]])
def test_pieces_hold_all_frames_once_and_no_more_rows_than_asked(counts):
    found = pieces(np.array(counts, dtype=np.int64), 10)
    assert [n for some in found for n in range(some.start, some.stop)] == list(range(len(counts)))
    assert all(sum(counts[some][:-1]) <= 10 for some in found)


def test_frames_taken_some_at_a_time_are_all_taken(files, monkeypatch):
    monkeypatch.setattr("allegro_dist.data.stored._SOME", 10)
    in_memory, stored = map(open_frames, files)
    assert stored.subset(range(9)).symbols() == in_memory.subset(range(9)).symbols()
    np.testing.assert_array_equal(stored.compositions(TYPE_NAMES), in_memory.compositions(TYPE_NAMES))


def test_expected_frames_are_the_same_as_others(files):
    graphs = open_set(files[1]).graphs(TYPE_NAMES, torch.full((3, 3), R_MAX, dtype=torch.float64), torch.float64)
    before = graphs.batch([3, 1])
    graphs.expect([3, 1])
    assert all(torch.equal(a, b) for a, b in zip(before, graphs.batch([3, 1]), strict=True))


def test_set_that_is_cut_short_while_open_is_refused(files, tmp_path):
    shutil.copy(files[1], tmp_path / "set.h5")
    file = open_set(tmp_path / "set.h5").file
    frames = file.frames[5:7].copy()
    os.truncate(tmp_path / "set.h5", 5000)
    with pytest.raises(DataError, match="set.h5: cut short since it was opened"):
        file.edges(frames)


def test_neighbor_lists_that_are_too_short_are_told(files):
    graphs = open_set(files[1]).graphs(TYPE_NAMES, torch.full((3, 3), 5.0), torch.float64)
    assert "neighbor lists reach 4.0 A, the model's cutoff is 5.0 A" in graphs.remark


def test_pair_cutoffs_shorten_stored_neighbor_lists(files):
    cutoffs = torch.tensor([[R_MAX, 3.0, 3.5], [2.5, 2.0, R_MAX], [3.0, R_MAX, 3.3]], dtype=torch.float64)
    expected, found = (open_frames(f).graphs(TYPE_NAMES, cutoffs, torch.float64).batch([0, 1, 2]) for f in files)
    assert torch.equal(found.edge_index, expected.edge_index) and torch.equal(found.edge_frame, expected.edge_frame)


@pytest.mark.parametrize("what", ["energies", "num_atoms"])
def test_columns_are_those_of_the_files(files, what):
    in_memory, stored = map(open_frames, files)
    np.testing.assert_array_equal(getattr(stored, what), getattr(in_memory, what))


def test_statistics_are_those_of_the_files(files):
    in_memory, stored = map(open_frames, files)
    assert stored.force_squares() == in_memory.force_squares()
    assert stored.isolated_energies() == in_memory.isolated_energies() == {"Si": -0.5}
    assert stored.symbols() == in_memory.symbols() == ("H", "O", "Si")
    np.testing.assert_array_equal(stored.compositions(TYPE_NAMES), in_memory.compositions(TYPE_NAMES))


def test_structures_come_back_as_they_were(files):
    for expected, found in zip(*map(read_structures, files), strict=True):
        for name in expected._fields:
            np.testing.assert_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("indices", [[0], [9, 3], [2, 2, 1]])
def test_subset_takes_frames_in_order(files, indices):
    in_memory, stored = (open_frames(f).subset(indices) for f in files)
    assert [s.source for s in stored.structures()] == [s.source for s in in_memory.structures()]
    assert stored.symbols() == in_memory.symbols()


def test_digest_tells_frames_and_their_order(files):
    frames = open_set(files[1])
    digests = {frames.subset(i).digest() for i in ([0, 1, 2], [0, 1], [1, 0])}
    assert len(digests) == 3 and frames.subset([1, 0]).digest() in digests


@pytest.mark.parametrize("index, message", [(1, "frame 1: no forces"), (9, None)])
def test_missing_forces_are_refused_except_of_isolated_atoms(files, index, message):
    frames = open_set(files[1]).subset([0, index])
    if message is None:
        frames.require_labels(forces=True, stress=True)
    else:
        with pytest.raises(DataError, match=message):
            frames.require_labels(forces=True, stress=False)


def test_stress_weight_without_any_stress_is_refused(files):
    with pytest.raises(DataError, match="no training frame has a stress"):
        open_set(files[1]).subset([6, 7]).require_labels(forces=True, stress=True)


def test_type_that_the_model_lacks_is_named(files):
    with pytest.raises(DataError, match="set.h5: atoms of type 'H', but the model has O, Si"):
        open_set(files[1]).graphs(("O", "Si"), torch.full((2, 2), R_MAX), torch.float64)


def test_frames_are_split_and_limited_as_in_memory(files):
    drawn = []
    for file in files:
        frames = load_frames(DataConfig(train=file, val=0.3, max_frames=8), seed=3, forces=False, stress=False)
        drawn.append([[s.source for s in part.structures()] for part in (frames.train, frames.val)])
    assert drawn[0] == drawn[1]


def test_a_set_beside_other_files_is_refused(files):
    with pytest.raises(DataError, match="a set on disk stands alone"):
        open_frames(files)


@pytest.mark.parametrize("part, message", [("val", "no part 'val'"), ("valid", "expected @train, @val or @test")])
def test_part_that_is_not_there_is_named(files, part, message):
    with pytest.raises(DataError, match=message):
        open_set(f"{files[1]}@{part}")


def test_what_is_no_set_is_refused(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"something else")
    with pytest.raises(DataError, match="a.h5: not a whole HDF5 file"):
        open_set(tmp_path / "a.h5")
    with pytest.raises(DataError, match="b.h5: no such file"):
        open_set(tmp_path / "b.h5")


def test_hdf5_file_of_others_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(DataError, match="a.h5: not a data set of `allegro-dist dataset build`"):
        open_set(tmp_path / "a.h5")


def test_truncated_set_is_refused(files, tmp_path):
    with open(files[1], "rb") as file:
        (tmp_path / "cut.h5").write_bytes(file.read()[:-1000])
    with pytest.raises(DataError, match="cut.h5: not a whole HDF5 file"):
        open_set(tmp_path / "cut.h5")
