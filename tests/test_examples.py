"""What examples/ offers: recipes that load, a silicon archive of the promised errors, an input that runs as it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from ase.io import read, write

from allegro_dist.cli import main
from allegro_dist.config import load
from allegro_dist.data.structure import read_structures
from allegro_dist.deploy.archive import load_archive
from allegro_dist.training.evaluate import evaluate
from tests.lammps.lammps_run import last_thermo, start_lmp

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SILICON = EXAMPLES / "silicon"


def test_silicon_recipe_names_the_embedded_set():
    data = load(EXAMPLES / "silicon.yaml").data
    for file in (data.train, data.test):
        assert read(EXAMPLES.parent / file, ":")


@pytest.mark.parametrize("recipe", ["molecule.yaml", "crystal.yaml"])
def test_recipes_need_only_training_frames(recipe):
    assert load(EXAMPLES / recipe, ["data.train=frames.xyz"]).data.train == "frames.xyz"


def test_simulation_example_is_one_that_can_start(monkeypatch, capsys):
    monkeypatch.chdir(EXAMPLES.parent)
    assert main(["simulate", "examples/silicon/npt.yaml", "--dry-run"]) == 0
    assert "replicate    5 5 5" in capsys.readouterr().out


def test_learning_example_goes_through_a_round_in_small(monkeypatch, tmp_path):
    """From the labels of two of its start frames to models that know one more."""
    monkeypatch.chdir(EXAMPLES.parent)
    write(tmp_path / "start.xyz", read(EXAMPLES / "learning" / "start.xyz", ":2"))
    stages = '[{"stage": "nvt", "temperature": 300, "steps": 20}]'
    small = [
        f"data.start={tmp_path / 'start.xyz'}", f"dir={tmp_path / 'loop'}", "members=2", "max_rounds=1",
        "training.max_epochs=1", "retraining.max_epochs=1", "final=null", f"simulations.0.stages={stages}",
        "harvest={threshold: 1e-9, ceiling: 1e6, per_round: 1}", "label.max_force=1e6",
    ]  # fmt: skip
    assert main(["learn", "examples/learning/learn.yaml", *small]) == 0
    result = json.loads((tmp_path / "loop" / "result.json").read_text())
    assert (result["frames"], result["rounds"]) == (3, 1)


@pytest.mark.parametrize("script", ["cpu.sh", "gpu.sh"])
def test_job_script_is_valid_and_names_files_that_exist(script):
    path = EXAMPLES / "slurm" / script
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    named = [word for line in path.read_text().splitlines() if line.startswith("srun") for word in line.split()]
    (file,) = (word for word in named if word.endswith((".yaml", ".in")))
    assert (EXAMPLES.parent / file).exists() or (SILICON / file).exists()


def test_silicon_archive_is_small():
    assert (SILICON / "si.pth").stat().st_size < 2e6


def test_silicon_archive_has_the_promised_errors_on_the_test_frames():
    archive = load_archive(SILICON / "si.pth")
    frames = read_structures(SILICON / "data" / "test.xyz")
    errors = evaluate(archive, frames, type_names=archive.type_names, cutoffs=archive.cutoffs())
    assert errors["forces"]["mae"] < 0.040
    assert errors["energy_per_atom"]["mae"] < 0.003


def test_quick_input_keeps_its_energy_with_the_silicon_archive(tmp_path):
    for name in ("quick.in", "si.pth"):
        shutil.copy(SILICON / name, tmp_path)
    text = (tmp_path / "quick.in").read_text()
    run = start_lmp(tmp_path, text.replace("run             200", "thermo_style custom step etotal\nrun 20"), ranks=2)
    assert run.returncode == 0, run.stdout + run.stderr
    first = float(run.stdout.split("TotEng")[1].split()[1])
    assert last_thermo(run.stdout)[1] == pytest.approx(first, abs=1e-4 * 1000)  # eV, 1,000 atoms
