"""Tables are as fine as the tolerance asks, vanish at the cutoff, and the archive says what was measured."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allegro_dist.deploy.archive import save_archive
from allegro_dist.deploy.archive_file import read_model_card
from allegro_dist.deploy.tables import Probe, choose_tables
from allegro_dist.engine import Engine
from allegro_dist.potential import assemble_forces
from tests.conftest import edges_of, make_potential, silica


@pytest.fixture(scope="module")
def potential():
    return make_potential(4, num_tensor_features=16, dtype="float32")


def fused_forces(engine: Engine, probe: Probe) -> np.ndarray:
    gradient = torch.from_numpy(engine.evaluate_atoms(*probe)[1])
    return assemble_forces(gradient, probe.edge_index, len(probe.atom_types)).numpy()


def test_tables_meet_their_tolerance_on_other_structures(potential, tmp_path):
    probes = [Probe(*edges_of(silica(seed))) for seed in range(3)]
    found = {}
    for tolerance in (1e-3, 1e-6):
        tables, measured = choose_tables(potential, probes, tolerance)
        assert measured["force_error"] <= tolerance * measured["force_rms"]
        found[tolerance] = tables.intervals
        save_archive(tmp_path / "model.pth", potential, tables=(tables, measured))
        other = Probe(*edges_of(silica(9)))
        forces = [
            fused_forces(Engine(tmp_path / "model.pth", dtype="float64", table_intervals=n), other)
            for n in (tables.intervals, 0)
        ]
        assert np.sqrt(np.mean((forces[0] - forces[1]) ** 2)) < 3 * tolerance * np.sqrt(np.mean(forces[1] ** 2))
    assert 0 < found[1e-3] < found[1e-6]


def test_tabulated_archive_passes_its_self_check_and_says_what_was_measured(potential, tmp_path):
    tables = choose_tables(potential, [], 1e-5)
    save_archive(tmp_path / "model.pth", potential, tables=tables)
    assert f"{tables[0].intervals} intervals" in Engine(tmp_path / "model.pth").evaluator
    card = read_model_card(tmp_path / "model.pth")["tables"]
    assert card["intervals"] == tables[0].intervals and card["relative_tolerance"] == 1e-5


def test_tables_too_coarse_for_their_tolerance_fail_the_self_check(potential, tmp_path):
    tables, measured = choose_tables(potential, [], 1e-6)
    save_archive(tmp_path / "model.pth", potential, tables=(tables._replace(intervals=8), measured))
    with pytest.raises(RuntimeError, match="self-check"):
        Engine(tmp_path / "model.pth")


def test_no_tables_without_tolerance(potential):
    assert choose_tables(potential, [], 0.0)[0].intervals == 0
