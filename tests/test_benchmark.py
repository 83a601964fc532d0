"""scripts/benchmark.py: its arithmetic is what a derivation by hand gives, its models are what they are said to be.

scripts/lammps_scaling.py: boxes hold the atoms that were asked for, every part has its rows.
scripts/scaling_model.py: `plan` reads what it writes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import vesin
from ase.build import bulk

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarking.models import MODELS, Work, count_work, make_potential  # noqa: E402
from benchmarking.peers import PeerProcess, check_names  # noqa: E402
from benchmarking.report import Limits, make_rows  # noqa: E402
from benchmarking.results import Result  # noqa: E402
from benchmarking.scaling import boxed  # noqa: E402

from allegro_dist.cli import main  # noqa: E402


@pytest.mark.parametrize(
    "tabulated, per_edge",
    [
        # a1 <- s1;  a2 <- h1, s2;  ar <- h1, h2
        (True, 32 * 64 + (64 + 32) * 64 + (64 + 64) * 32),
        # and h0 <- Bessels;  h0 -> a1, a2, ar, w
        (False, 8 * 64 + 64 * (64 + 64 + 32 + 96) + 32 * 64 + (64 + 32) * 64 + (64 + 64) * 32),
    ],
)
def test_dense_work_of_s5_is_counted_as_by_hand(tabulated: bool, per_edge: int):
    per_atom = (1 if tabulated else 2) * 64 * 32 * 9  # an environment's mix, 32 channels for each of nine (l, m)
    assert count_work(make_potential(MODELS["s5"]), 28, tabulated).dense == 4 * (28 * per_edge + per_atom)


@pytest.mark.parametrize("name", MODELS)
def test_neighbors_of_a_model_are_those_of_the_crystal(name: str):
    model, atoms = MODELS[name], bulk("Si", "diamond", a=5.43, cubic=True)
    neighbors = vesin.NeighborList(cutoff=model.r_max, full_list=True)
    (centers,) = neighbors.compute(atoms.positions, atoms.cell.array, True, quantities="i")
    assert len(centers) == model.neighbors * len(atoms)


def test_row_relates_the_median_rate_per_core_to_sgemm():
    class TwoCores:
        model, evaluator, engine, atoms, cores, work = "s5", "exact", "lammps", 8, 2, Work(3e6, 1e6, 0.0)

    (row,) = make_rows([Result(TwoCores(), [10.0, 40.0, 20.0])], Limits("a cpu", sgemm=60e6, stream=1.0))
    assert row["atom_steps_per_s"] == 20.0
    assert row["fraction_of_sgemm"] == pytest.approx(20 / 2 * 3e6 / 60e6)
    assert row["flops_per_s"] == pytest.approx(20 / 2 * 4e6)


def test_unknown_mode_of_a_peer_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="mace/fast: expected one of mace/eager, mace/compile"):
        check_names(["sw", "mace/fast"])


def test_peer_that_stops_is_named():
    with pytest.raises(SystemExit, match=r"a peer stopped.*-c"):
        PeerProcess("none", "broken", [sys.executable, "-c", "raise SystemExit(1)"])


@pytest.mark.parametrize(
    "atoms, box", [(8000, (10, 10, 10)), (16384, (8, 16, 16)), (32768, (16, 16, 16)), (1_000_000, (50, 50, 50))]
)
def test_box_holds_the_atoms_and_is_near_a_cube(atoms: int, box: tuple[int, int, int]):
    assert boxed(atoms) == box


def test_smoke_run_of_scaling_has_positive_memory_and_shares(tmp_path: Path):
    script = Path(__file__).parents[1] / "scripts" / "lammps_scaling.py"
    command = [sys.executable, str(script), "--smoke", "--parts", "memory,efficiency", "--json", "s.json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    parts = json.loads((tmp_path / "s.json").read_text())
    assert [row["atoms"] for row in parts["memory"]] == [64, 512]
    assert all(row["ours_peak_MB"] > row["zero_peak_MB"] > 0 for row in parts["memory"])
    assert [(row["scaling"], row["ranks"]) for row in parts["efficiency"]] == [
        ("strong", 1), ("strong", 2), ("weak", 1), ("weak", 2),
    ]  # fmt: skip
    assert all(0 < row["Pair_percent"] <= 100 for row in parts["efficiency"])


@pytest.mark.slow
def test_smoke_run_writes_a_row_for_every_contestant(tmp_path: Path):
    script = Path(__file__).parents[1] / "scripts" / "benchmark.py"
    options = ["--smoke", "--models", "s5", "--peers", "sw,uf3", "--json", "b.json", "--plot", "b.png"]
    command = [sys.executable, str(script), *options, "--roofline", "r.png", "--memory"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    names = [(row["model"], row["evaluator"]) for row in rows]
    ours = [("s5", evaluator) for evaluator in ("torchscript", "exact", "tabulated")]
    assert names == [("sw", "lammps/sw"), ("uf3", "lammps/uf3"), *ours]
    assert all(row["atom_steps_per_s"] > 0 for row in rows)
    assert all((tmp_path / picture).stat().st_size > 0 for picture in ("b.png", "r.png"))


def test_measured_machine_is_one_that_plan_takes(tmp_path: Path):
    script, model = SCRIPTS / "scaling_model.py", SCRIPTS.parent / "examples" / "silicon" / "si.pth"
    short = ["--cells", "2", "--steps", "4", "--rounds", "3", "-o", "machine.yaml"]
    subprocess.run([sys.executable, str(script), str(model), *short], cwd=tmp_path, check=True)
    machine = str(tmp_path / "machine.yaml")
    assert main(["plan", "--atoms", "1e6", "--nodes", "2", "--model", str(model), "--machine", machine]) == 0
