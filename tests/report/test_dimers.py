"""Dimer curves against the potential itself and the repulsion that it contains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from allegro_dist.deploy.archive import save_archive
from allegro_dist.report.committee import open_committee
from allegro_dist.report.dimers import DimerCurve, dimer_curves
from tests.conftest import TYPE_NAMES, make_potential


@pytest.fixture(scope="module")
def curves(tmp_path_factory) -> dict[str, DimerCurve]:
    """Of a random model with ZBL."""
    path = tmp_path_factory.mktemp("dimers") / "model.pth"
    save_archive(path, make_potential(zbl=True))
    shortest = np.full((3, 3), np.inf)
    shortest[0, 1] = shortest[1, 0] = 1.6
    return {curve.pair: curve for curve in dimer_curves(open_committee([path]), shortest)}


def test_every_pair_of_types_has_a_curve(curves):
    assert list(curves) == ["Si-Si", "Si-O", "Si-H", "O-O", "O-H", "H-H"]


def test_energy_is_that_of_the_potential_less_its_shifts(curves):
    potential, curve = make_potential(zbl=True), curves["Si-O"]
    for number in (10, 100, 200):
        r = torch.tensor([[0.0, 0.0, curve.distances[number]]], dtype=torch.float64)
        index, types = torch.tensor([[0, 1], [1, 0]]), torch.tensor([TYPE_NAMES.index("Si"), TYPE_NAMES.index("O")])
        energy = potential(torch.cat([r, -r]), index, types)[0].sum() - potential.shift[types].sum()
        assert curve.energy[number] == pytest.approx(float(energy), rel=1e-6, abs=1e-8)


def test_energy_approaches_zbl_where_nuclei_meet(curves):
    for curve in curves.values():
        assert curve.zbl_in_model
        if "H" not in curve.pair:  # whose repulsion is weak beside a random model
            assert curve.energy[0] == pytest.approx(curve.zbl[0], rel=0.05)


def test_energy_ends_at_the_cutoff(curves):
    assert_allclose(curves["Si-Si"].energy[-3:], 0.0, atol=1e-12)


def test_shortest_distance_is_that_of_the_data(curves):
    assert curves["Si-O"].shortest_in_data == 1.6 and curves["O-O"].shortest_in_data is None


def with_dent(curve: DimerCurve, depth: float) -> DimerCurve:
    """An exponential wall with a dent at 0.8 Angstrom, below the data's shortest distance of 1.6."""
    r = np.linspace(0.5, 6.0, 551)
    energy = 10 * np.exp(-2 * (r - 1.6)) - depth * np.exp(-(((r - 0.8) / 0.1) ** 2))
    return replace(curve, distances=r, energies=energy[None])


def test_curve_that_falls_below_the_energy_at_the_shortest_distance_has_a_hole(curves):
    distance, energy = with_dent(curves["Si-O"], 60.0).hole
    assert distance == pytest.approx(0.8, abs=0.02) and energy < 0


def test_curve_that_rises_has_no_hole(curves):
    assert with_dent(curves["Si-O"], 10.0).hole is None
