"""Sections: averages and energy drift of every stage over time, and the mean cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from allegro_dist.analysis.averages import Average, average
from allegro_dist.analysis.fits import Drift, energy_drift
from allegro_dist.drawing import MODEL, QUIET, add_axes, new_figure, png
from allegro_dist.report.page import Picture, Section, Table, Text
from allegro_dist.report.part import LeftOut, Part
from allegro_dist.simulate.folder import Simulation, StageSpan

Array = NDArray[np.float64]
GRAMS_PER_CM3 = 1e24 / units.mol  # of one atomic mass unit per Angstrom^3


@dataclass(frozen=True)
class StageAverages:
    """Of a stage of dynamics."""

    stage: str
    first_step: int
    last_step: int
    temperature: Average  # K
    pressure: Average  # bar
    potential_energy: Average  # eV per atom
    drift: Drift | None  # of the total energy, eV per atom and ps; None: too few lines


@dataclass(frozen=True)
class CellAverages:
    """Of a periodic simulation in a stage of dynamics."""

    stage: str
    lengths: list[Average]  # Angstrom, of the cell that was replicated
    angles: list[Average]  # degrees
    volume: Average  # Angstrom^3 per atom
    density: Average  # g/cm^3


def stages_part(run: Simulation, discard: float) -> Part:
    """Table and plots of thermo.csv."""
    num_atoms = len(run.first_frame() or ()) or None
    if num_atoms is None:
        raise LeftOut("the trajectory has no frame yet, which tells the number of atoms")
    rows = {stage: run.rows(stage, discard) for stage in run.stages if stage.is_dynamics}
    found = [_averages(stage, values, num_atoms) for stage, values in rows.items() if len(values["step"])]
    head = ("stage", "steps", "temperature, K", "pressure, bar", "potential energy, eV/atom", "drift, meV/atom/ps")
    table = [
        (s.stage, f"{s.first_step:,}–{s.last_step:,}", str(s.temperature), str(s.pressure), str(s.potential_energy),
         _drift_text(s.drift)) for s in found
    ]  # fmt: skip
    note = Text(
        "Drift is the slope of the total energy; where a thermostat or barostat works, or temperature is a ramp, it "
        "measures what they do, and in nve the quality of forces and timestep."
    )
    picture = Picture(_draw(run, num_atoms), "Over the whole simulation; lines part the stages.", wide=True)
    return Part(Section("Stages", [Table(head, table), note, picture]), found)


def cell_part(run: Simulation, discard: float) -> Part:
    """Mean lattice constants, volume and density of every stage."""
    first = run.first_frame()
    if first is None or not all(first.pbc):
        raise LeftOut("no cell: the simulation is not periodic in all directions")
    found = []
    for stage in run.stages:
        if stage.is_dynamics and len(run.rows(stage, discard)["step"]):
            found.append(cell_averages(run, stage, discard, first))
    head = ("stage", *(f"{name}, Å" for name in "abc"), *(f"{name}, °" for name in "αβγ"), "Å³/atom", "g/cm³")
    table = [(c.stage, *map(str, c.lengths), *map(str, c.angles), str(c.volume), str(c.density)) for c in found]
    repeated = " × ".join(map(str, run.config.structure.replicate))
    return Part(Section("Cell", [Table(head, table, f"the cell of the input, which was repeated {repeated}")]), found)


def _averages(stage: StageSpan, rows: dict[str, Array], num_atoms: int) -> StageAverages:
    try:
        drift = energy_drift(rows["time_ps"], rows["total_energy_eV"] / num_atoms)
    except ValueError:  # too few lines
        drift = None
    potential = average(rows["potential_energy_eV"] / num_atoms)
    return StageAverages(
        stage.name, stage.first, stage.last, average(rows["temperature_K"]), average(rows["pressure_bar"]),
        potential, drift,
    )  # fmt: skip


def cell_averages(run: Simulation, stage: StageSpan, discard: float, atoms: Atoms) -> CellAverages:
    """Of a stage that has lines in thermo.csv; `atoms`: any frame."""
    rows = run.rows(stage, discard)
    zero = np.zeros(len(rows["step"]))
    a = np.stack([rows["lx_A"], zero, zero], axis=1)
    b = np.stack([rows["xy_A"], rows["ly_A"], zero], axis=1)
    c = np.stack([rows["xz_A"], rows["yz_A"], rows["lz_A"]], axis=1)
    lengths = [np.linalg.norm(vector, axis=1) for vector in (a, b, c)]
    cosines = [(u * v).sum(axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
               for u, v in ((b, c), (a, c), (a, b))]  # fmt: skip
    return CellAverages(
        stage=stage.name,
        lengths=[average(x / times) for x, times in zip(lengths, run.config.structure.replicate, strict=True)],
        angles=[average(np.degrees(np.arccos(cosine))) for cosine in cosines],
        volume=average(rows["volume_A3"] / len(atoms)),
        density=average(GRAMS_PER_CM3 * float(atoms.get_masses().sum()) / rows["volume_A3"]),
    )


def _drift_text(drift: Drift | None) -> str:
    return "" if drift is None else str(Average(1e3 * drift.slope, 1e3 * drift.standard_error))


def _draw(run: Simulation, num_atoms: int) -> bytes:
    thermo = run.thermo
    energy = thermo["total_energy_eV"]
    curves = (
        ("temperature, K", thermo["temperature_K"]),
        ("pressure, GPa", thermo["pressure_bar"] * units.bar / units.GPa),
        ("total energy from the last, meV/atom", 1e3 * (energy - energy[-1]) / num_atoms),
        ("volume, Å³/atom", thermo["volume_A3"] / num_atoms),
    )
    figure = new_figure(9.0, 5.6)
    for number, (label, values) in enumerate(curves, 1):
        axes = add_axes(figure, 2, 2, number)
        axes.plot(thermo["step"], values, color=MODEL, linewidth=0.8)
        for stage in run.stages[:-1]:
            axes.axvline(stage.last, color=QUIET, linewidth=0.6)
        axes.set(xlabel="step", ylabel=label)
    return png(figure)
