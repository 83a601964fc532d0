"""The report on a simulation: folders written here, whose averages, drift and diffusion are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from allegro_dist.cli import main
from allegro_dist.config import to_dict
from allegro_dist.simulate.checkpoint import Checkpoint, write_checkpoint
from allegro_dist.simulate.outputs import Written
from allegro_dist.simulate.settings import Minimize, Nve, Nvt, SimulationConfig, Stage, StructureSettings
from allegro_dist.simulate.tables import THERMO

DRIFT = 0.032  # eV/ps, of the whole
DENSITY = 2.33  # g/cm^3, of silicon at a = 5.43 Angstrom
STAGES = (Minimize(), Nve(steps=200))
FIRST, LAST = 10, 210  # steps of the minimization and of dynamics
UNRECORDED = {"viscosity", "conductivity"}


def make_folder(folder: Path, atoms: Atoms, stages: tuple[Stage, ...] = STAGES, speed: float = 1.0) -> Path:
    """A finished simulation of 1 fs steps with random walks, velocities beside them, and a line of energy."""
    structure = StructureSettings(file="none", replicate=(2, 2, 2))
    config = SimulationConfig(structure=structure, model="none", stages=stages)
    rng = np.random.default_rng(0)
    frames = []
    for step in range(0, LAST + 1, 2):
        atoms = atoms.copy()
        atoms.positions += rng.normal(0, 0.01, (len(atoms), 3))
        atoms.set_velocities(speed * rng.normal(size=(len(atoms), 3)))
        atoms.info["step"] = step
        frames.append(atoms)
    folder.mkdir()
    ase.io.write(folder / "trajectory.xyz", frames)
    steps = np.arange(0, LAST + 1)
    edge = atoms.cell.lengths()
    values = {name: np.zeros(len(steps)) for name in THERMO} | {
        "step": steps, "time_ps": steps / 1000, "temperature_K": 300 + rng.normal(0, 10, len(steps)),
        "total_energy_eV": -1000 + DRIFT * steps / 1000, "volume_A3": np.full(len(steps), atoms.cell.volume),
        **{name: np.full(len(steps), length) for name, length in zip(("lx_A", "ly_A", "lz_A"), edge, strict=True)},
    }  # fmt: skip
    np.savetxt(folder / "thermo.csv", np.stack(list(values.values()), 1), delimiter=",", header=",".join(values),
               comments="")  # fmt: skip
    written = {name: Written(1, LAST) for name in ("thermo.csv", "trajectory.xyz")}
    write_checkpoint(
        folder, Checkpoint(to_dict(config), 2, step=LAST, ends=(FIRST, LAST), written=written, finished=True)
    )
    return folder


def analyse(folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The JSON and the page."""
    files = folder / "report.json", folder / "report.html"
    assert main(["analyse", str(folder), "--json", str(files[0]), "-o", str(files[1]), *arguments]) == 0
    return json.loads(files[0].read_text()), files[1].read_text()


def silicon() -> Atoms:
    return bulk("Si", "diamond", a=5.43, cubic=True) * (2, 2, 2)


@pytest.fixture(scope="module")
def crystal(tmp_path_factory) -> tuple[dict[str, Any], str]:
    return analyse(make_folder(tmp_path_factory.mktemp("crystal") / "run", silicon()))


@pytest.fixture(scope="module")
def molecule(tmp_path_factory) -> tuple[dict[str, Any], str]:
    atoms = Atoms("H2O", [[0, 0, 0], [1.5, 0, 0], [0.75, 0.6, 0]])
    return analyse(make_folder(tmp_path_factory.mktemp("molecule") / "run", atoms, speed=0.0))


def test_drift_is_the_slope_of_the_line(crystal):
    assert crystal[0]["stages"][0]["drift"]["slope"] == pytest.approx(DRIFT / 64)


def test_temperature_is_within_its_error(crystal):
    temperature = crystal[0]["stages"][0]["temperature"]
    assert abs(temperature["value"] - 300) < 3 * temperature["error"] < 5


def test_beginning_of_the_stage_is_left_out(crystal, tmp_path):
    numbers, _ = analyse(make_folder(tmp_path / "run", silicon()), "--discard", "0.5")
    assert len(numbers["vibrations"]["times"]) == pytest.approx(50 / 2, abs=1)
    assert len(crystal[0]["vibrations"]["times"]) == pytest.approx(90 / 2, abs=1)


def test_cell_is_that_of_the_input(crystal):
    cell = crystal[0]["cell"][0]
    assert [length["value"] for length in cell["lengths"]] == pytest.approx([5.43] * 3)
    assert [angle["value"] for angle in cell["angles"]] == pytest.approx([90] * 3)
    assert cell["density"]["value"] == pytest.approx(DENSITY, abs=0.005)


def test_diffusion_is_that_of_the_walk(crystal):
    found = crystal[0]["diffusion"][0]["diffusion"]["coefficient"]
    exact = 0.01**2 / 2 / 0.002  # of steps of 0.01 Angstrom in each direction, every 2 fs
    assert abs(found["value"] - exact) < 4 * found["error"] < exact


def test_velocities_without_memory_have_all_frequencies_alike(crystal):
    density = np.array(crystal[0]["vibrations"]["density"])
    assert density.mean() == pytest.approx(1 / 250, rel=0.05)  # frames every 2 fs: up to 250 THz
    assert density.std() < 0.1 * density.mean()


def test_page_needs_nothing_else(crystal):
    page = crystal[1]
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 5
    assert "http" not in page


def test_parts_that_do_not_apply_are_left_out_with_reasons(molecule):
    numbers, page = molecule
    assert set(numbers["left_out"]) - UNRECORDED == {"cell", "pairs", "vibrations"}
    for reason in ("no velocities: all are zero", "no cell: a mean density needs one", "no cell: the simulation is"):
        assert reason in page


def test_stage_with_few_frames_has_no_diffusion_coefficient(tmp_path):
    numbers, page = analyse(make_folder(tmp_path / "run", silicon()), "--discard", "0.8")
    assert numbers["diffusion"][0]["diffusion"] is None
    assert "No diffusion coefficient: stage 1: nve has 20 frames, 50 are needed" in page


def test_stage_that_is_none_of_dynamics_is_refused(tmp_path, capsys):
    folder = make_folder(tmp_path / "run", silicon(), (Minimize(), Nvt(temperature=300, steps=200)))
    assert main(["analyse", str(folder), "--stage", "0"]) == 2
    assert "no stage 0 of dynamics that has begun; there are: 1: nvt" in capsys.readouterr().err


def test_stage_with_two_frames_has_no_motion(tmp_path):
    numbers, _ = analyse(make_folder(tmp_path / "run", silicon()), "--discard", "0.985")
    assert set(numbers["left_out"]) - UNRECORDED == {"diffusion", "vibrations"}
    assert "stage 1: nve has 2 frames, 3 are needed" in numbers["left_out"]["diffusion"]


def test_all_that_applies_is_there(crystal):
    assert set(crystal[0]["left_out"]) == UNRECORDED


def test_picture_is_of_the_last_frame(crystal):
    assert crystal[0]["snapshot"] == {"formula": "Si64", "num_atoms": 64, "step": LAST}
