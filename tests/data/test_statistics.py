from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from allegro_dist.config import AllegroConfig, ConfigError
from allegro_dist.data.dataset import build_graphs, find_type_names
from allegro_dist.data.frames import FrameList, GraphList
from allegro_dist.data.statistics import compute_statistics, isolated_shift, least_squares_shift
from allegro_dist.data.structure import DataError, from_atoms
from allegro_dist.potential import pair_cutoffs
from tests.data.frames import labelled_atoms

STRUCTURES = [
    from_atoms(labelled_atoms(n, symbols=s)) for n, s in enumerate(["Si4O3H", "SiO2H4", "Si6", "O4H2", "SiO6"])
]
TYPE_NAMES = find_type_names(STRUCTURES)


def statistics(structures=STRUCTURES, isolated=(), **changes):
    config = replace(AllegroConfig(r_max=4.0, pair_cutoffs={"H-H": 3.0}), **changes)
    graphs = build_graphs(structures, TYPE_NAMES, pair_cutoffs(config, TYPE_NAMES), torch.float64)
    return compute_statistics(config, TYPE_NAMES, FrameList(structures), GraphList(graphs), isolated), graphs


def isolated_atom(symbol, energy):
    atoms = Atoms(symbol)
    atoms.calc = SinglePointCalculator(atoms, energy=energy)
    return from_atoms(atoms)


def test_type_names_are_sorted_by_atomic_number():
    assert TYPE_NAMES == ("H", "O", "Si")


def test_avg_num_neighbors_is_edges_per_atom():
    result, graphs = statistics()
    assert result.avg_num_neighbors == (sum(g.num_edges for g in graphs) / sum(g.num_atoms for g in graphs),) * 3


def test_avg_num_neighbors_per_type_averages_to_the_global_one():
    result, graphs = statistics(avg_num_neighbors="per_type")
    atoms = np.bincount(torch.cat([g.atom_types for g in graphs]).numpy())
    assert len(set(result.avg_num_neighbors)) == 3
    assert np.dot(atoms, result.avg_num_neighbors) == pytest.approx(sum(g.num_edges for g in graphs), rel=1e-14)


def test_scale_is_the_force_rms():
    result, _ = statistics()
    forces = np.concatenate([s.forces for s in STRUCTURES])
    assert result.per_type_scale == pytest.approx([np.sqrt((forces**2).mean())] * 3, rel=1e-13)


def test_least_squares_shift_equals_numpy_on_independent_compositions():
    result, _ = statistics()
    counts = np.array([[s.symbols.count(n) for n in TYPE_NAMES] for s in STRUCTURES], dtype=float)
    num_atoms = counts.sum(1)
    energies = np.array([s.energy for s in STRUCTURES])
    expected = np.linalg.lstsq(counts / num_atoms[:, None], energies / num_atoms, rcond=None)[0]
    assert result.per_type_shift == pytest.approx(expected, rel=1e-10)


def test_least_squares_shift_of_one_composition_is_the_mean_for_every_type():
    counts = np.array([[6.0, 1.0, 2.0]] * 5)
    energies = np.array([-4209.1, -4209.3, -4209.2, -4209.0, -4209.4])
    shift = least_squares_shift(counts, energies)
    assert shift == pytest.approx([-4209.2 / 9] * 3, rel=1e-12)


def test_least_squares_shift_fits_dependent_compositions_as_well_as_numpy():
    counts = np.array([[2.0, 1.0, 0.0], [4.0, 2.0, 0.0], [0.0, 0.0, 3.0], [2.0, 1.0, 3.0]])
    energies = np.array([-30.0, -61.0, -300.0, -329.0])
    per_atom, fractions = energies / counts.sum(1), counts / counts.sum(1)[:, None]
    expected = fractions @ np.linalg.lstsq(fractions, per_atom, rcond=None)[0]
    shift = np.array(least_squares_shift(counts, energies))
    np.testing.assert_allclose(fractions @ shift, expected, rtol=1e-10)
    assert np.abs(shift).max() < 150  # nearest to equal, not cancelling giants


def test_isolated_shift_leaves_no_mean_error():
    counts, energies = np.array([[2.0, 1.0], [4.0, 2.0]]), np.array([-10.0, -22.0])
    shift = isolated_shift(counts, energies, np.array([-1.0, -5.0]))
    assert np.diff(shift) == pytest.approx(-4.0)
    assert (counts @ shift).sum() == pytest.approx(energies.sum())


def test_isolated_atoms_come_from_their_file_or_the_training_frames():
    atoms = [isolated_atom(s, e) for s, e in (("H", -1.0), ("O", -2.0), ("Si", -3.0))]
    from_file, _ = statistics(isolated=atoms, per_type_shift="isolated_atoms")
    assert np.diff(from_file.per_type_shift) == pytest.approx([-1.0, -1.0])
    from_frames, _ = statistics([*STRUCTURES, *atoms], per_type_shift="isolated_atoms")
    assert np.diff(from_frames.per_type_shift) == pytest.approx([-1.0, -1.0])


def test_missing_isolated_atoms_are_named():
    with pytest.raises(DataError, match="no single-atom frame of O, Si"):
        statistics(isolated=[isolated_atom("H", -1.0)], per_type_shift="isolated_atoms")


def test_given_values_are_taken():
    result, _ = statistics(avg_num_neighbors=20.0, per_type_scale=2.0, per_type_shift={"Si": -1, "O": -2, "H": -3})
    assert result == (TYPE_NAMES, (20.0,) * 3, (2.0,) * 3, (-3.0, -2.0, -1.0))


def test_given_values_for_other_types_are_refused():
    with pytest.raises(ConfigError, match="model.per_type_shift: expected a value for each of H, O, Si, got Si"):
        statistics(per_type_shift={"Si": -1.0})
