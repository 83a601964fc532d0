"""Viscosity and conductivity in the report on a simulation: of series that are known."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from scipy.signal import lfilter

from allegro_dist.config import to_dict
from allegro_dist.simulate.checkpoint import Checkpoint, write_checkpoint
from allegro_dist.simulate.outputs import Written
from allegro_dist.simulate.settings import Langevin, Nve, RecordSettings, SimulationConfig, Stage, StructureSettings
from allegro_dist.simulate.tables import HEAT_FLUX, STRESS, THERMO
from tests.report.test_simulation import analyse, silicon

STEPS = 20_000
VOLUME, TEMPERATURE, MEMORY = 1280.8, 300.0, 10.0  # Angstrom^3, K, fs


def make_folder(folder: Path, stage: Stage) -> Path:
    """A finished simulation that recorded noise of 1 bar and 1 eV Angstrom/ps, with exp(-t/MEMORY), every 2 fs."""
    folder.mkdir()
    atoms = silicon()
    atoms.info["step"] = STEPS
    atoms.write(folder / "trajectory.xyz")
    thermo = {name: np.zeros(3) for name in THERMO} | {
        "step": np.array([0, STEPS // 2, STEPS]), "volume_A3": np.full(3, VOLUME),
        **{length: np.full(3, VOLUME ** (1 / 3)) for length in ("lx_A", "ly_A", "lz_A")},
        "temperature_K": np.full(3, TEMPERATURE),
    }  # fmt: skip
    write_table(folder / "thermo.csv", thermo)
    steps, memory = np.arange(0, STEPS + 1, 2), np.exp(-2 / MEMORY)
    for seed, (name, columns) in enumerate((("stress.csv", STRESS), ("heat_flux.csv", HEAT_FLUX))):
        noise = np.random.default_rng(seed).normal(size=(len(columns), len(steps)))
        series = lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise, axis=1)
        write_table(folder / name, {"step": steps, **dict(zip(columns, series, strict=True))})
    config = SimulationConfig(
        structure=StructureSettings(file="none"), model="none", stages=(stage,),
        record=RecordSettings(stress=2, heat_flux=2),
    )  # fmt: skip
    written = {name: Written(1, STEPS) for name in ("thermo.csv", "trajectory.xyz")}
    write_checkpoint(folder, Checkpoint(to_dict(config), 1, step=STEPS, ends=(STEPS,), written=written, finished=True))
    return folder


def write_table(path: Path, columns: dict[str, np.ndarray]) -> None:
    np.savetxt(path, np.stack(list(columns.values()), 1), delimiter=",", header=",".join(columns), comments="")


def test_conductivity_is_that_of_the_series(tmp_path):
    numbers, page = analyse(make_folder(tmp_path / "run", Nve(steps=STEPS)), "--discard", "0")
    found = numbers["conductivity"]["coefficient"]
    exact = (1.602176634e-19 * 100) ** 2 * MEMORY * 1e-15 / (VOLUME * 1e-30 * 1.380649e-23 * TEMPERATURE**2)
    assert abs(found["value"] - exact) < 3 * found["error"] < 0.4 * exact
    assert "thermal conductivity, W/m/K" in page and "viscosity, mPa s" in page


def test_simulation_that_recorded_nothing_is_told_how(tmp_path):
    folder = make_folder(tmp_path / "run", Nve(steps=STEPS))
    (folder / "stress.csv").unlink()
    numbers, _ = analyse(folder)
    assert numbers["left_out"]["viscosity"] == "no stress.csv: record: {stress: N} in a simulation's settings writes it"
    assert "conductivity" in numbers


def test_plateau_that_is_given_is_taken(tmp_path):
    numbers, _ = analyse(make_folder(tmp_path / "run", Nve(steps=STEPS)), "--plateau", "0.1")
    assert numbers["viscosity"]["plateau"] == pytest.approx([0.1, 0.2])


def test_plateau_beyond_the_segments_is_left_out_with_the_reason(tmp_path):
    numbers, _ = analyse(make_folder(tmp_path / "run", Nve(steps=STEPS)), "--plateau", "2")
    assert "a plateau from 2 ps on ends beyond the lags" in numbers["left_out"]["viscosity"]


def test_stage_with_random_forces_has_no_transport(tmp_path):
    numbers, _ = analyse(make_folder(tmp_path / "run", Langevin(steps=STEPS, temperature=300)))
    for name in ("viscosity", "conductivity"):
        assert numbers["left_out"][name].startswith("stage 0: langevin: Green and Kubo's formulas need nve")


def test_lines_at_unequal_intervals_are_left_out(tmp_path):
    folder = make_folder(tmp_path / "run", Nve(steps=STEPS))
    lines = (folder / "stress.csv").read_text().splitlines(keepends=True)
    (folder / "stress.csv").write_text("".join(lines[:5000] + lines[5001:]))
    numbers, _ = analyse(folder)
    assert numbers["left_out"]["viscosity"] == "stress.csv has lines at unequal intervals: [2, 4] steps"


def test_stage_with_few_lines_has_no_transport(tmp_path):
    numbers, _ = analyse(make_folder(tmp_path / "run", Nve(steps=STEPS)), "--discard", "0.97")
    assert "expected 400 or more samples, got 301" in numbers["left_out"]["conductivity"]


def test_molecule_has_no_transport(tmp_path):
    folder = make_folder(tmp_path / "run", Nve(steps=STEPS))
    frame = ase.io.read(folder / "trajectory.xyz")
    frame.pbc = False
    frame.write(folder / "trajectory.xyz")
    numbers, _ = analyse(folder)
    assert numbers["left_out"]["viscosity"] == "no volume: the simulation is not periodic in all directions"
