"""What examples/ offers: recipes that load, a silicon archive of the promised errors, inputs that run, in small."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.io import read, write
from ase.neighborlist import neighbor_list
from nbclient import NotebookClient
from numpy.testing import assert_allclose

from allegro_dist.cli import main
from allegro_dist.config import load, read_values
from allegro_dist.data.structure import read_structures
from allegro_dist.deploy.archive import load_archive, load_potential, save_archive
from allegro_dist.deploy.archive_file import read_model_card
from allegro_dist.learn import loop
from allegro_dist.simulate import AllegroCalculator, read_folder
from allegro_dist.simulate.lammps_runtime import lammps_folder, lmp_command, lmp_environment
from allegro_dist.training.evaluate import evaluate
from tests.lammps.lammps_run import MPIEXEC, last_thermo, start_lmp
from tests.learn.test_loop import InThisProcess
from tests.simulate.simulations import COMMAND

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SILICON = EXAMPLES / "silicon"
NEEDS_TBLITE = pytest.mark.skipif(find_spec("tblite") is None, reason="tblite is not installed")


def test_silicon_recipe_names_the_embedded_set():
    data = load(EXAMPLES / "silicon.yaml").data
    for file in (data.train, data.test):
        assert read(EXAMPLES.parent / file, ":")


@pytest.mark.parametrize("recipe", ["molecule.yaml", "crystal.yaml"])
def test_recipes_need_only_training_frames(recipe):
    assert load(EXAMPLES / recipe, ["data.train=frames.xyz"]).data.train == "frames.xyz"


def test_simulation_example_goes_through_its_stages_in_small(tmp_path):
    steps = [f"stages.{stage}.steps=10" for stage in (1, 2, 3)]
    small = [f"dir={tmp_path}", "structure.replicate=[2,2,2]", "thermo_every=10", "trajectory.every=10", *steps]
    subprocess.run([*COMMAND, "examples/silicon/npt.yaml", *small], cwd=EXAMPLES.parent, check=True, timeout=300)
    simulation = read_folder(tmp_path)
    assert simulation.finished
    assert [stage.settings.stage for stage in simulation.stages] == ["minimize", "nvt", "npt", "nve"]


def test_properties_example_goes_through_its_sections_in_small(tmp_path):
    """The crystal at rest is the whole one: PBE has 5.47 Angstrom (Haas, Tran and Blaha, Phys. Rev. B 79, 085104)."""
    steps = [f"melting.{stage}_steps=10" for stage in ("warm", "melt", "cool", "settle")]
    small = [
        f"dir={tmp_path}", "expansion={temperatures: [300], replicate: [2, 2, 2], steps: 40}",
        "melting.replicate=[2,2,2]", "melting.steps=40", *steps,
    ]  # fmt: skip
    command = [*COMMAND[:-1], "properties", "examples/silicon/properties.yaml", *small]
    subprocess.run(command, cwd=EXAMPLES.parent, check=True, timeout=600)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["crystal"]["cells"][0][0] == pytest.approx(5.47, abs=0.02) and not found["crystal"]["left_out"]
    assert found["expansion"]["cells"] and found["melting"]["num_atoms"] == 64


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


@pytest.mark.parametrize("calculator", ["emt", pytest.param("tblite", marks=NEEDS_TBLITE)])
def test_molecule_learning_example_goes_through_a_round_in_small(monkeypatch, tmp_path, calculator):
    """An isolated molecule: frames without a cell, labels without a stress."""
    monkeypatch.chdir(EXAMPLES.parent)
    small = [
        f"dir={tmp_path / 'loop'}", "members=2", "max_rounds=1", "training.max_epochs=1", "retraining.max_epochs=1",
        "final=null", "simulations.0.stages.0.steps=20", "harvest={threshold: 1e-9, ceiling: 1e6, per_round: 1}",
        "label.max_force=1e6", f"label.calculator={calculator}", "label.settings={}",
    ]  # fmt: skip
    assert main(["learn", "examples/learning/molecule.yaml", *small]) == 0
    result = json.loads((tmp_path / "loop" / "result.json").read_text())
    assert (result["frames"], result["rounds"]) == (21, 1)
    labelled = read(tmp_path / "loop" / "round-000" / "labelled.xyz")
    assert not labelled.pbc.any() and labelled.cell.rank == 0  # as the start frames: not LAMMPS's box around the atoms


def test_learning_with_dft_has_the_settings_of_the_set(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES.parent / "scripts")
    dataset = importlib.import_module("make_silicon_dataset")
    values = read_values(SILICON / "learn.yaml")
    recipe = read_values(EXAMPLES / "silicon.yaml")
    label = values["label"]["settings"]
    grid = dataset.k_points("learned_000")
    assert label["input_data"] | {"calculation": "scf"} == dataset.SETTINGS
    assert (tuple(label["kpts"]), label["koffset"]) == (grid, [1, 1, 1])
    shift = dataset.to_common_zero("x".join(map(str, grid)))
    assert values["label"]["energy_shift"]["Si"] == pytest.approx(shift, abs=1e-6)
    assert (values["model"], values["training"]) == (recipe["model"], recipe["training"])


def test_learning_with_dft_goes_through_a_round_in_small(monkeypatch, tmp_path):
    """With an archive in the place of pw.x, which not every machine has, and the torn one of its liquids alone."""
    monkeypatch.chdir(EXAMPLES.parent)
    monkeypatch.setattr(loop, "Processes", InThisProcess)
    monkeypatch.setattr(InThisProcess, "commands", [], raising=False)
    write(tmp_path / "start.xyz", read(SILICON / "data" / "train.xyz", "-4:"))
    simulation = read_values(SILICON / "learn.yaml")["simulations"][-1]
    for stage in simulation["stages"]:
        stage["steps"] = 10
    small = [
        f"data={{start: {tmp_path / 'start.xyz'}, val: 0.3}}", f"dir={tmp_path / 'loop'}", "members=2", "max_rounds=1",
        f"simulations=[{json.dumps(simulation)}]", "harvest={threshold: 1e-9, ceiling: 1e6, per_round: 1}",
        f"label={{calculator: allegro, settings: {{path: {SILICON / 'si.pth'}}}, max_force: 1e6}}",
        "training.max_epochs=1", "retraining.max_epochs=1", "launch={}", "model={r_max: 4, l_max: 1, num_layers: 1}",
    ]  # fmt: skip
    assert main(["learn", "examples/silicon/learn.yaml", *small]) == 0
    (learned,) = read(tmp_path / "loop" / "round-000" / "labelled.xyz", ":")
    assert learned.get_volume() / len(learned) == pytest.approx(1.6 * 5.476**3 / 8, rel=1e-4)


@pytest.mark.parametrize("script", sorted(path.name for path in (EXAMPLES / "slurm").glob("*.sh")))
def test_job_script_is_valid_and_names_files_that_exist(script):
    path = EXAMPLES / "slurm" / script
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    commands = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    named = [word for line in commands for word in line.split() if word.endswith((".yaml", ".in", ".sh"))]
    for file in named:
        assert (EXAMPLES.parent / file).exists() or (SILICON / file).exists() or file.startswith("run/")


def test_silicon_archive_is_small():
    assert (SILICON / "si.pth").stat().st_size < 2e6


def test_silicon_archive_has_the_promised_errors_on_the_test_frames():
    archive = load_archive(SILICON / "si.pth")
    frames = read_structures(SILICON / "data" / "test.xyz")
    errors = evaluate(archive, frames, type_names=archive.type_names, cutoffs=archive.cutoffs())
    assert errors["forces"]["mae"] < 0.040
    assert errors["energy_per_atom"]["mae"] < 0.003


def test_silicon_archive_repels_two_atoms_nearer_than_those_of_the_set():
    """Of models trained alike some have a hole there, which errors on frames do not show."""
    calculator, distances = AllegroCalculator(SILICON / "si.pth"), np.arange(0.5, 1.7, 0.05)
    energies = []
    for distance in distances:
        atoms = Atoms("Si2", [[0, 0, 0], [distance, 0, 0]], calculator=calculator)
        energies.append(atoms.get_potential_energy())
    assert (np.diff(energies) < 0).all()


def test_quick_input_keeps_its_energy_with_the_silicon_archive(tmp_path):
    for name in ("quick.in", "si.pth"):
        shutil.copy(SILICON / name, tmp_path)
    text = (tmp_path / "quick.in").read_text()
    run = start_lmp(tmp_path, text.replace("run             200", "thermo_style custom step etotal\nrun 20"), ranks=2)
    assert run.returncode == 0, run.stdout + run.stderr
    first = float(run.stdout.split("TotEng")[1].split()[1])
    assert last_thermo(run.stdout)[1] == pytest.approx(first, abs=1e-4 * 1000)  # eV, 1,000 atoms


# --- inputs for LAMMPS, each in small


def run_input(path: Path, folder: Path, ranks: int = 1, **variables: object) -> str:
    """Run an input with variables of the command line, outputs in the folder; returns what it prints."""
    words = [word for name, value in variables.items() for word in ("-var", name, str(value))]
    command = lmp_command(["-in", str(path), "-log", "none", "-var", "out", str(folder), *words])
    run = subprocess.run(
        [str(MPIEXEC), "-n", str(ranks), *command], cwd=EXAMPLES.parent, env=lmp_environment(os.environ),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return run.stdout


def test_recoil_input_knows_whether_the_archive_has_zbl_inside():
    """If this fails, a new archive came: change `variable repulsion` in recoil.in, which must not count ZBL twice."""
    inside = read_model_card(SILICON / "si.pth")["config"]["zbl"]
    line = next(x for x in (SILICON / "recoil.in").read_text().splitlines() if x.startswith("variable repulsion"))
    assert line.split()[3] == ("inside" if inside else "overlay")


@pytest.mark.parametrize("repulsion", ["overlay", "inside"])
def test_recoil_input_keeps_its_energy_where_atoms_meet(tmp_path, repulsion):
    run_input(SILICON / "recoil.in", tmp_path, cells=2, steps=250, repulsion=repulsion)
    time, _, total = np.loadtxt(tmp_path / "recoil.txt").T
    assert np.diff(time).min() < 2e-3 < time[-1]  # ps per ten steps, which are shorter than 1 fs while the atom is fast
    assert np.ptp(total) < 0.1  # eV, of the 100 that the atom was given
    frames = read(tmp_path / "frames.dump", ":", format="lammps-dump-text")
    assert min(neighbor_list("d", atoms, 2.0).min(initial=2.0) for atoms in frames) < 1.6


def test_committee_input_halts_where_the_members_disagree(tmp_path):
    """The second member has the forces of the first, times 1.1: a deviation of 1/21 of the mean force."""
    potential = load_potential(SILICON / "si.pth")
    with torch.no_grad():
        potential.scale.mul_(1.1)
    save_archive(tmp_path / "other.pth", potential)
    models = f"{SILICON / 'si.pth'} {tmp_path / 'other.pth'}"
    output = run_input(
        SILICON / "committee.in", tmp_path, 2, models=models, cells=2, steps=40, threshold=0.05, doubt=0.02
    )
    assert "Fix halt condition for fix-id stop met" in output
    step, _, largest, mean = np.loadtxt(tmp_path / "deviations.txt").T
    assert largest[-1] > 0.05 and (largest[:-1] <= 0.05).all() and (mean <= largest).all()
    doubtful = read(tmp_path / "doubt.dump", ":", format="lammps-dump-text")
    assert len(doubtful) == (largest > 0.02).sum()
    assert_allclose(doubtful[-1].arrays["f_spread"].max(), largest[-1], rtol=1e-4)
    assert (tmp_path / "last.data").exists()


def test_melting_input_gives_the_mean_of_the_last_half(tmp_path):
    small = {"cells": 2, "length": 4, "warm_steps": 10, "melt_steps": 10, "cool_steps": 10, "steps": 40, "every": 5}
    output = run_input(SILICON / "melting.in", tmp_path, **small)
    step, temperature, _ = np.loadtxt(tmp_path / "temperature.txt").T
    melting_point = float(output.split("melting point: ")[-1].split()[0])
    assert_allclose(melting_point, temperature[step > 20].mean(), rtol=1e-5)


def test_melting_input_leaves_half_of_a_crystal_beside_its_liquid(tmp_path):
    """With Stillinger-Weber silicon, whose liquid has more than five neighbors within 3 Angstrom."""
    sw = {"style": "sw", "model": lammps_folder() / "share/lammps/potentials/Si.sw", "guess": 1600}
    steps = {"warm_steps": 500, "melt_steps": 1000, "cool_steps": 1000, "steps": 1000}
    run_input(SILICON / "melting.in", tmp_path, **sw, **steps, cells=2, length=8, hot=5000)
    rows = (tmp_path / "profile.txt").read_text().splitlines()[-16:]
    _, place, _, neighbors = np.loadtxt(rows).T
    assert_allclose(neighbors[(place > 0.15) & (place < 0.35)], 4.0, atol=0.15)
    assert neighbors[(place > 0.65) & (place < 0.85)].mean() > 4.8


def test_conductivity_input_integrates_the_flux_that_it_writes(tmp_path):
    small = {"cells": 2, "nvt_steps": 20, "nve_steps": 60, "sample": 2, "lags": 10, "temperature": 500}
    run_input(SILICON / "conductivity.in", tmp_path, **small)
    flux = np.loadtxt(tmp_path / "flux.txt")[:, 1:]  # eV Angstrom/ps
    correlation = [(flux[: len(flux) - lag] * flux[lag:]).mean(axis=0) for lag in range(10)]
    volume, step = (2 * 5.475) ** 3, 2 * 0.001
    integral = np.trapezoid(correlation, dx=step, axis=0) / (8.617333262e-5 * 500**2 * volume)
    expected = integral * 1.602176634e-19 / (1e-10 * 1e-12)  # eV/(Angstrom ps K) in W/(m K)
    *components, mean = np.loadtxt(tmp_path / "conductivity.txt")
    assert_allclose(components, expected, rtol=1e-4)  # flux.txt has six digits
    assert_allclose(mean, expected.mean(), rtol=1e-4)


def test_molecule_input_keeps_its_energy_in_a_box_that_follows(tmp_path):
    """With a model of ethanol that is trained by the recipe, on frames labelled by EMT, for seconds."""
    frames = []
    for seed in range(20):
        atoms = molecule("CH3CH2OH", vacuum=5.0)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(atoms)
    write(tmp_path / "frames.xyz", frames)
    settings = {
        "data.train": tmp_path / "frames.xyz", "run.dir": tmp_path / "run", "training.max_epochs": 10,
        "training.max_minutes": "null", "model.r_max": 4, "model.l_max": 1, "model.num_layers": 1,
        "model.num_tensor_features": 4, "model.num_scalar_features": 8,
    }  # fmt: skip
    changes = [f"{key}={value}" for key, value in settings.items()]
    assert main(["train", str(EXAMPLES / "molecule.yaml"), *changes]) == 0
    assert main(["deploy", str(tmp_path / "run"), "-o", str(tmp_path / "model.pth")]) == 0
    start = molecule("CH3CH2OH", vacuum=5.0)
    start.write(tmp_path / "molecule.data", format="lammps-data", specorder=["C", "H", "O"], masses=True)
    files = {"model": tmp_path / "model.pth", "data": tmp_path / "molecule.data"}
    run_input(EXAMPLES / "molecule" / "md.in", tmp_path, **files, warm_steps=100, nve_steps=100)
    _, total, temperature = np.loadtxt(tmp_path / "nve.txt").T
    kinetic = 1.5 * len(start) * 8.617e-5 * temperature
    assert np.ptp(total) < 0.05 * kinetic.mean()
    last = read(tmp_path / "frames.dump", -1, format="lammps-dump-text")
    assert_allclose(np.ptp(last.positions, axis=0), last.cell.lengths(), atol=1.0)  # the data file's box has 10 more


# --- the notebook


def test_notebook_is_committed_without_outputs():
    cells = nbformat.read(EXAMPLES / "python_api.ipynb", as_version=4).cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells if cell.cell_type == "code")


def test_notebook_runs_and_finds_silicon(tmp_path):
    """By PBE: 5.47 Angstrom, 88.5 GPa (Haas, Tran and Blaha, Phys. Rev. B 79, 085104, 2009)."""
    (tmp_path / "silicon").symlink_to(SILICON)
    notebook = nbformat.read(EXAMPLES / "python_api.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    numbers = dict(line.split(": ") for line in printed.splitlines() if ": " in line)
    assert float(numbers["lattice constant"].split()[0]) == pytest.approx(5.47, abs=0.02)
    assert float(numbers["bulk modulus"].split()[0]) == pytest.approx(88.5, rel=0.1)
    assert float(numbers["neighbors of an atom"].split()[0]) == pytest.approx(4.0, abs=0.1)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
