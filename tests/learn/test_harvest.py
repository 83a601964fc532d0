"""The choice of frames: between threshold and ceiling, before the ceiling, apart in time, unknown, spread over all."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms

from allegro_dist.config import from_dict
from allegro_dist.learn.harvest import Track, as_chosen, harvest, key_of
from allegro_dist.learn.settings import HarvestSettings
from allegro_dist.learn.tracks import times_of, with_open_vectors
from allegro_dist.simulate.checkpoint import Checkpoint
from allegro_dist.simulate.settings import Minimize, Nve, SimulationConfig, StructureSettings


def track(deviations, interval: float = 10.0, start: int = 0) -> Track:
    """Frames of a pair of atoms that moves apart, so that no two are the same."""
    frames = []
    for k, deviation in enumerate(deviations):
        info = {"step": 5 * k, "largest_deviation": deviation}
        frames.append(Atoms("Cu2", [[0, 0, 0], [0, 0, 2 + 0.01 * (start + k)]], cell=[9, 9, 9], pbc=True, info=info))
    return Track(frames, interval * np.arange(len(frames)))


def settings(**values) -> HarvestSettings:
    return from_dict(HarvestSettings, {"threshold": 0.1, "ceiling": 1.0, "apart": 0.0, "per_round": 100, **values})


def frames(found) -> list[int]:
    return [choice.frame for choice in found.chosen]


def test_frames_below_the_threshold_are_left():
    assert sorted(frames(harvest([track([0.05, 0.1, 0.09, 0.3])], settings()))) == [1, 3]


def test_nothing_is_taken_from_behind_the_first_frame_beyond_the_ceiling():
    found = harvest([track([0.2, 0.3, 1.1, 0.4, 0.5])], settings())
    assert sorted(frames(found)) == [0, 1]
    assert (found.num_beyond, found.largest) == (3, 0.3)


def test_deviation_that_is_no_number_is_beyond_the_ceiling():
    assert frames(harvest([track([0.2, np.nan, 0.4])], settings())) == [0]


def test_chosen_frames_are_apart_in_time():
    found = harvest([track(np.linspace(0.2, 0.9, 50))], settings(apart=45.0))
    assert np.diff(sorted(frames(found))).min() >= 5
    assert all(choice.apart is None or choice.apart >= 45 for choice in found.chosen)


def test_first_choice_is_the_largest_deviation_and_the_next_is_far_from_it():
    deviations = np.full(101, 0.5)
    deviations[[30, 31]] = 0.9, 0.8
    found = harvest([track(deviations)], settings(per_round=2))
    assert frames(found) == [30, 100]  # 0.5 x 700 fs beats 0.8 x 10 fs
    assert (found.chosen[0].apart, found.chosen[1].apart) == (None, 700.0)


def test_simulation_of_which_nothing_is_chosen_counts_as_far_away():
    tracks = [track(np.full(30, 0.9)), track(np.full(30, 0.5), start=1000)]
    found = harvest(tracks, settings(per_round=3))
    assert [choice.simulation for choice in found.chosen] == [0, 0, 1]  # 0.5 x 290 fs beats 0.9 x 150 fs


def test_known_frame_is_passed_over():
    tracks = [track([0.9, 0.8, 0.7])]
    moved = tracks[0].frames[0].copy()
    moved.positions += moved.cell[0]  # the same atoms, in another image
    assert sorted(frames(harvest(tracks, settings(), [key_of(moved)]))) == [1, 2]


def test_no_more_are_chosen_than_asked_for():
    assert len(harvest([track(np.full(30, 0.5))], settings(per_round=7)).chosen) == 7


def test_harvest_of_sure_simulations_is_dry():
    found = harvest([track(np.full(30, 0.01)), track([])], settings())
    assert (found.chosen, found.num_above, found.num_frames) == ([], 0, 30)


def test_chosen_frame_carries_its_reasons_and_no_results():
    tracks = [track([0.2, 0.9])]
    found = harvest(tracks, settings(per_round=1))
    atoms = as_chosen(tracks[0], found.chosen[0], 3)
    assert atoms.calc is None
    assert atoms.info == {"config_type": "round 3", "simulation": 0, "step": 5, "committee_deviation": 0.9}


@pytest.mark.parametrize("ends, time", [((), 60.0), ((20,), 50.0)])
def test_times_are_those_of_the_stages(ends, time):
    """A minimization, of 20 steps where it is known to have ended, takes no time; then 1 fs, then 0.5 fs a step."""
    stages = (Minimize(), Nve(steps=40), Nve(steps=40, timestep=0.5))
    config = SimulationConfig(structure=StructureSettings(file="x"), model="m", stages=stages)
    checkpoint = Checkpoint({}, ends=ends) if ends else None
    assert times_of(np.array([80.0]), config, checkpoint)[0] == pytest.approx(time)


def test_open_directions_have_the_vacuum_of_the_structure_given():
    """A slab whose box LAMMPS has shrunk to its atoms, and whose periodic vectors a barostat has changed."""
    slab = np.array([[5.5, 0, 0], [1.0, 5.5, 0], [0, 0, 3.0]])
    found = with_open_vectors(slab, np.array([True, True, False]), np.diag([5.4, 5.4, 20.0]))
    assert found.tolist() == [[5.5, 0, 0], [1.0, 5.5, 0], [0, 0, 20.0]]
