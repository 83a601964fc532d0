"""Thermal expansion: the cell's lengths at several temperatures, by NPT dynamics of a crystal of its own for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from allegro_dist.analysis.averages import Average
from allegro_dist.analysis.expansion import Expansion, fit_expansion
from allegro_dist.config import ConfigError
from allegro_dist.drawing import MODEL, add_axes, new_figure, png
from allegro_dist.properties.settings import ExpansionSettings, PropertiesConfig
from allegro_dist.properties.simulations import simulation
from allegro_dist.report.page import Picture, Section, Table, Text
from allegro_dist.report.part import Part
from allegro_dist.report.sections.stages import CellAverages, cell_averages
from allegro_dist.simulate.folder import read_folder
from allegro_dist.simulate.settings import Minimize, Npt, SimulationConfig, StructureSettings

FOLDER = "expansion"
NPT = 1
"""Number of the stage at the temperature."""
PER_MILLION = 1e6
SAME_SHAPE = 1e-3
"""Largest strain beside a change of volume."""
NOTE = (
    "The curve is L(0) (1 + c T + d T²) through the crystal at rest. Nuclei move classically: below the Debye "
    "temperature a real crystal expands less."
)


@dataclass(frozen=True)
class Lengths:
    """Of one of the cell's vectors."""

    name: str
    expansion: Expansion
    coefficients: list[Average]  # 1/K, at each temperature


@dataclass(frozen=True)
class ExpansionFound:
    """What the simulations tell."""

    cells: list[CellAverages]
    lengths: list[Lengths]


def expansion_simulations(config: PropertiesConfig, e: ExpansionSettings) -> list[SimulationConfig]:
    """One for each temperature."""
    return [
        simulation(
            config, _folder(temperature),
            StructureSettings(file=config.structure, replicate=e.replicate, temperature=2 * temperature,
                              seed=config.seed),
            (Minimize(cell=e.coupling), Npt(temperature=temperature, coupling=e.coupling, steps=e.steps)), e.steps,
        ) for temperature in e.temperatures
    ]  # fmt: skip


def check_shape(config: PropertiesConfig, e: ExpansionSettings, cell: Atoms, at_rest: Atoms) -> None:
    """Raises ConfigError where only the volume may change, but the cell has another shape than at rest."""
    strain = np.linalg.solve(cell.cell.array, at_rest.cell.array)
    if e.coupling == "iso" and np.abs(strain - np.eye(3) * strain.trace() / 3).max() > SAME_SHAPE:
        lengths = " and ".join(str(np.round(atoms.cell.cellpar(), 3).tolist()) for atoms in (cell, at_rest))
        raise ConfigError(
            f"expansion.coupling: iso keeps the shape of the cell in {config.structure}, which is not that of the "
            f"crystal at rest: take aniso, or relax it first (lengths and angles: {lengths})"
        )


def expansion_part(config: PropertiesConfig, e: ExpansionSettings, at_rest: Atoms) -> Part:
    """What the finished simulations tell; `at_rest`: the relaxed cell."""
    cells = [_cell(Path(config.dir) / _folder(temperature), e.discard) for temperature in e.temperatures]
    names = "a" if e.coupling == "iso" else "abc"
    lengths = [_lengths(number, name, e.temperatures, cells, at_rest) for number, name in enumerate(names)]
    head = ("T, K", *(f"{x.name}, Å" for x in lengths), "volume, Å³/atom",
            *(f"(1/{x.name}) d{x.name}/dT, 1e-6/K" for x in lengths))  # fmt: skip
    rows = [
        (f"{t:g}", *(str(x.expansion.lengths[i]) for x in lengths), str(cells[i].volume),
         *(str(_scaled(x.coefficients[i])) for x in lengths)) for i, t in enumerate(e.temperatures)
    ]  # fmt: skip
    rest = ("0", *(f"{x.expansion.at_rest:.4f}" for x in lengths), f"{at_rest.get_volume() / len(at_rest):.3f}")
    table = Table(head, [(*rest, *("" for _ in lengths)), *rows], "at rest, and means of dynamics at zero pressure")
    picture = Picture(_draw(lengths), "Lengths of the cell, and the curve through them; its slope.", wide=True)
    return Part(Section("Thermal expansion", [table, Text(NOTE), picture]), ExpansionFound(cells, lengths))


def _folder(temperature: float) -> str:
    return f"{FOLDER}-{temperature:g}K"


def _cell(folder: Path, discard: float) -> CellAverages:
    run = read_folder(folder)
    atoms = run.last_frame()
    assert atoms is not None  # the run is finished
    return cell_averages(run, run.stages[NPT], discard, atoms)


def _lengths(
    number: int, name: str, temperatures: Sequence[float], cells: Sequence[CellAverages], at_rest: Atoms
) -> Lengths:
    rest = float(at_rest.cell.lengths()[number])
    found = fit_expansion(temperatures, [cell.lengths[number] for cell in cells], rest)
    return Lengths(name, found, [found.expansion(temperature) for temperature in temperatures])


def _scaled(a: Average) -> Average:
    return Average(PER_MILLION * a.value, None if a.error is None else PER_MILLION * a.error)


def _draw(lengths: Sequence[Lengths]) -> bytes:
    figure = new_figure(9.0, 3.4)
    left, right = add_axes(figure, 1, 2, 1), add_axes(figure, 1, 2, 2)
    for x, style in zip(lengths, ("-", "--", ":")):
        t = x.expansion.temperatures
        fine = np.linspace(0, t[-1], 100)
        left.errorbar(t, [length.value for length in x.expansion.lengths], color=MODEL, fmt="o", markersize=3.5,
                      yerr=[length.error or 0.0 for length in x.expansion.lengths], capsize=2)  # fmt: skip
        left.plot(fine, x.expansion.curve(fine), style, color=MODEL, linewidth=1.0, label=x.name)
        slopes = [_scaled(x.expansion.expansion(temperature)) for temperature in fine]
        middle, width = np.array([s.value for s in slopes]), np.array([s.error or 0.0 for s in slopes])
        right.plot(fine, middle, style, color=MODEL, linewidth=1.0)
        right.fill_between(fine, middle - width, middle + width, color=MODEL, alpha=0.2, linewidth=0)
    left.set(xlabel="temperature, K", ylabel="length, Å")
    left.legend(frameon=False)
    right.set(xlabel="temperature, K", ylabel="thermal expansion, 1e-6/K", ylim=(0, None))
    return png(figure)
