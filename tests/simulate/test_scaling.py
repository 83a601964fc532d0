"""The scaling model against closed forms, and against what LAMMPS reported; `allegro-dist plan`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from allegro_dist.cli import main
from allegro_dist.config import ConfigError
from allegro_dist.deploy.archive_file import read_model_card
from allegro_dist.simulate.scaling import (
    Machine,
    Workload,
    at_rate,
    ghosts_per_rank,
    predict,
    processor_grid,
    staged_exchange,
)

SILICON = Workload(num_atoms=32_768, density=8 / 5.43**3, r_max=5.0, num_neighbors=28, skin=2.0, rebuild_every=10)
SI = Path(__file__).resolve().parents[2] / "examples" / "silicon" / "si.pth"
ONE_RANK = Machine(ranks_per_node=1, full_node_slowdown=1)


def test_ghosts_of_a_cubic_brick_are_its_shell():
    # (1 + 2 c / l)^3 - 1 ghosts per atom, here c = l / 2
    assert ghosts_per_rank((40, 40, 40), (2, 2, 2), 10, 0.05) == pytest.approx(7 * 0.05 * 20**3)


def test_stages_carry_each_ghost_once():
    box, grid = (90, 80, 70), (3, 2, 4)
    assert staged_exchange(box, grid, 7.0)[1] == pytest.approx(ghosts_per_rank(box, grid, 7.0, 1.0))


def test_exchange_is_six_messages_where_the_cutoff_ends_in_the_next_brick():
    assert staged_exchange((80, 80, 80), (4, 4, 4), 7.0)[0] == 6


def test_exchange_takes_more_hops_where_bricks_are_thinner_than_the_cutoff():
    assert staged_exchange((80, 80, 80), (1, 1, 16), 7.0)[0] == 4


def test_exchange_of_one_rank_needs_no_message():
    assert staged_exchange((80, 80, 80), (1, 1, 1), 7.0) == (0, 0.0)


@pytest.mark.parametrize("ranks, grid", [(8, (2, 2, 2)), (27, (3, 3, 3)), (4096, (16, 16, 16))])
def test_grid_of_a_cube_is_cubic(ranks, grid):
    assert processor_grid(ranks) == grid


def test_efficiency_of_one_rank_is_one():
    assert predict(SILICON, ONE_RANK, 1).efficiency == pytest.approx(1)


def test_step_of_one_rank_without_ghost_cost_is_the_sum_of_its_costs():
    machine = Machine(
        ranks_per_node=1, seconds_per_atom=1, seconds_per_pair_atom=2, seconds_per_edge=3, seconds_per_listed=0,
        seconds_per_ghost=0, latency_within=0,
    )  # fmt: skip
    assert predict(SILICON, machine, 1).step == pytest.approx(32_768 * (1 + 2 + 3 * 28))


def test_slow_network_takes_its_latency_and_its_bytes():
    quick = Machine(ranks_per_node=1, seconds_per_ghost=0, latency=0, bandwidth=1e30)
    slow = replace(quick, latency=1.0, bandwidth=1.0)
    row = predict(SILICON, slow, 8)
    # six messages each way and a reduction in three stages
    assert row.messages == 12
    added = row.communication - predict(SILICON, quick, 8).communication
    assert added == pytest.approx(12 + 3 + row.bytes_sent)


def test_shares_of_one_rank_are_those_that_lammps_reported():
    """docs/performance.md, "Atoms and ranks"; the costs were measured on another, smaller system."""
    row = predict(SILICON, ONE_RANK, 1)
    assert row.pair / row.step == pytest.approx(0.986, abs=0.005)
    assert row.neighbor / row.step == pytest.approx(0.011, abs=0.003)


def test_rate_of_one_rank_is_what_lammps_did_in_the_minutes_of_the_costs():
    """Of atoms displaced in a crystal of another lattice constant (docs/scaling.md)."""
    assert predict(SILICON, ONE_RANK, 1).atom_steps_per_second == pytest.approx(54_600, rel=0.03)


def test_rate_given_is_the_rate_of_one_rank():
    machine = replace(at_rate(ONE_RANK, 5_000, SILICON), seconds_per_ghost=0)
    assert predict(SILICON, machine, 1).atom_steps_per_second == pytest.approx(5_000)


def test_rate_beyond_what_lammps_does_without_forces_is_refused():
    with pytest.raises(ConfigError, match="got 1e[+]09"):
        at_rate(ONE_RANK, 1e9, SILICON)


def test_plan_writes_a_row_for_each_size(tmp_path, capsys):
    file = tmp_path / "plan.json"
    assert main(["plan", "--atoms", "1e6", "1e8", "--nodes", "1", "128", "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [(row["num_atoms"], row["ranks"]) for row in rows] == [(a, r) for a in (10**6, 10**8) for r in (64, 8192)]
    assert "8,192" in capsys.readouterr().out


def test_plan_takes_cutoff_and_neighbors_from_an_archive(tmp_path):
    file = tmp_path / "plan.json"
    command = ["plan", "--atoms", "1e6", "--nodes", "1", "--json", str(file), "--rate", "1e4"]
    assert main([*command, "--model", str(SI)]) == 0
    by_model = json.loads(file.read_text())["rows"]
    card = read_model_card(SI)
    neighbors = str(card["avg_num_neighbors"][0])
    assert main([*command, "--r-max", str(card["r_max"]), "--neighbors", neighbors]) == 0
    assert json.loads(file.read_text())["rows"] == by_model


def test_plan_takes_a_machine_description(tmp_path):
    (tmp_path / "m.yaml").write_text("ranks_per_node: 48\nlatency: 3.0e-6\n")
    file = tmp_path / "plan.json"
    command = ["plan", "--atoms", "1e6", "--nodes", "2", "--machine", str(tmp_path / "m.yaml"), "--json", str(file)]
    assert main(command) == 0
    assert json.loads(file.read_text())["rows"][0]["ranks"] == 96


@pytest.mark.parametrize(
    "options, message",
    [
        (["--atoms", "0", "--nodes", "1"], "--atoms: expected whole numbers from 1, got 0"),
        (["--atoms", "1e6", "--nodes", "1.5"], "--nodes: expected whole numbers from 1, got 1.5"),
        (["--atoms", "100", "--nodes", "4"], "expected at most one rank per atom, got 256 ranks"),
        (["--atoms", "1e6", "--nodes", "1", "--rebuild-every", "0"], "--rebuild-every: expected at least 1 step"),
        (["--atoms", "1e6", "--nodes", "1", "--density", "-1"], "--density: expected a positive number, got -1"),
        (["--atoms", "1e6", "--nodes", "1", "--machine", "no.yaml"], "no.yaml: no such configuration file"),
        (["--atoms", "1e6", "--nodes", "1", "--model", "no.pth"], "no.pth: no such file"),
    ],
)
def test_plan_refuses_what_makes_no_sense(options, message, capsys):
    assert main(["plan", *options]) == 2
    assert message in capsys.readouterr().err


def test_unknown_key_of_a_machine_is_refused_with_the_nearest(tmp_path, capsys):
    (tmp_path / "m.yaml").write_text("latencyy: 1.0e-6\n")
    assert main(["plan", "--atoms", "1e6", "--nodes", "1", "--machine", str(tmp_path / "m.yaml")]) == 2
    assert "did you mean 'latency'" in capsys.readouterr().err
