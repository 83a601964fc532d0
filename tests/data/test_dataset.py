import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from allegro_dist.config import DataConfig
from allegro_dist.data.dataset import load_frames
from allegro_dist.data.structure import DataError
from tests.data.frames import labelled_atoms


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "frames.xyz"
    lone = Atoms("Si", cell=[9, 9, 9], pbc=True)
    lone.calc = SinglePointCalculator(lone, energy=-1.0)
    write(path, [lone] + [labelled_atoms(n) for n in range(10)])
    return str(path)


def load(seed=0, **changes):
    return load_frames(DataConfig(**changes), seed=seed, forces=True, stress=False)


def test_split_is_disjoint_and_complete(path):
    frames = load(train=path, val=0.3)
    sources = [s.source for part in (frames.train, frames.val) for s in part.structures()]
    assert (len(frames.train), len(frames.val)) == (8, 3)
    assert len(set(sources)) == 11


def test_split_follows_the_seed(path):
    val = [[s.source for s in load(seed, train=path, val=0.3).val.structures()] for seed in (0, 0, 1)]
    assert val[0] == val[1] != val[2]


def test_isolated_atom_stays_in_the_training_set(path):
    assert all(len(s.symbols) > 1 for seed in range(20) for s in load(seed, train=path, val=0.3).val.structures())


def test_max_frames_counts_validation_in(path):
    frames = load(train=path, val=0.25, max_frames=8)
    assert len(frames.train) + len(frames.val) == 8


def test_validation_file_leaves_training_whole(path):
    frames = load(train=path, val=path, test=path)
    assert len(frames.train) == len(frames.val) == len(frames.test) == 11


def test_too_few_frames_are_refused(path):
    with pytest.raises(DataError, match="too few"):
        load(train=path, max_frames=1)
