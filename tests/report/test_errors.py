"""Grouped errors against sums written out atom by atom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from allegro_dist.report.errors import by_force_magnitude, by_name, by_type, error_of, overall, worst_frames
from tests.report.made_up import made_up_predictions

ATOMS_OF_FRAME = {0: (0, 1), 1: (2, 3, 4)}


def test_error_of_numbers_is_the_textbook_one():
    error = error_of(np.array([1.0, -3.0, np.nan]))
    assert (error.count, error.mae, error.mean) == (2, 2.0, -1.0)
    assert_allclose(error.rmse, np.sqrt(5))


def test_error_of_nothing_is_none():
    assert error_of(np.array([np.nan])) is None


def test_frame_group_has_the_errors_of_its_frames_alone():
    p = made_up_predictions(num_models=2)
    hot, cold = by_name(p, p.groups)
    assert (hot.name, cold.name) == ("hot", "cold") and (hot.num_atoms, cold.num_atoms) == (2, 3)
    for group, frame in ((hot, 0), (cold, 1)):
        energy = (p.energy[:, frame].mean() - p.reference_energy[frame]) / p.num_atoms[frame]
        assert_allclose(group.energy_per_atom.mae, abs(energy))
        forces = [p.forces[:, a].mean(axis=0) - p.reference_forces[a] for a in ATOMS_OF_FRAME[frame]]
        assert_allclose(group.forces.rmse, np.sqrt(np.mean(np.square(forces))))
        stress = (p.stress[0, frame] + p.stress[1, frame]) / 2 - p.reference_stress[frame]
        assert_allclose(group.stress.mae, np.mean(np.abs(stress)))


def test_frames_without_a_group_stand_last():
    p = made_up_predictions()
    assert [g.name for g in by_name(p, (None, "cold"))] == ["cold", "(none)"]


def test_force_errors_by_type_are_of_that_types_atoms():
    p = made_up_predictions()
    silicon, oxygen = by_type(p)
    for found, name, atoms in ((silicon, "Si", [0, 2, 3]), (oxygen, "O", [1, 4])):
        assert (found.name, found.num_atoms) == (name, len(atoms))
        assert_allclose(found.forces.mae, np.abs(p.forces[0, atoms] - p.reference_forces[atoms]).mean())
        assert_allclose(found.reference_rms, np.sqrt((p.reference_forces[atoms] ** 2).mean()))


def test_force_errors_by_magnitude_are_of_the_atoms_between_two_edges():
    lengths = np.array([0.05, 0.5, 2.0, 2.5, 20.0])
    p = replace(made_up_predictions(), reference_forces=np.outer(lengths, [0.0, 0.6, 0.8]))
    classes = by_force_magnitude(p, edges=(0.0, 1.0, 10.0, np.inf))
    assert [(c.name, c.num_atoms) for c in classes] == [("0 to 1", 2), ("1 to 10", 2), ("above 10", 1)]
    assert_allclose(classes[1].forces.mae, np.abs(p.forces[0, 2:4] - p.reference_forces[2:4]).mean())
    assert_allclose((classes[1].smallest, classes[1].largest), (2.0, 2.5))


def test_missing_labels_count_nowhere():
    p = made_up_predictions()
    forces, energy = p.reference_forces.copy(), p.reference_energy.copy()
    forces[:2], energy[0] = np.nan, np.nan
    p = replace(p, reference_forces=forces, reference_energy=energy, reference_stress=np.full((2, 3, 3), np.nan))
    everything, (hot, _) = overall(p), by_name(p, p.groups)
    assert everything.forces.count == 9 and everything.energy_per_atom.count == 1 and everything.stress is None
    assert hot.forces is None and hot.energy_per_atom is None
    assert [w.source for w in worst_frames(p)] == ["frame 1"]


def test_worst_frame_stands_first_with_its_largest_atom():
    p = made_up_predictions()
    forces = p.reference_forces + np.array([0.1, 0.1, 0.1, 5.0, 0.1])[:, None] * np.array([1.0, 0, 0])
    worst = worst_frames(replace(p, forces=forces[None]))
    assert [w.source for w in worst] == ["frame 1", "frame 0"]
    assert worst[0].forces_max == pytest.approx(5.0)
    assert worst[0].forces_rmse == pytest.approx(np.sqrt((0.1**2 + 5.0**2 + 0.1**2) / 9))
