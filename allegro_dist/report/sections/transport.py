"""Sections: viscosity and thermal conductivity by Green and Kubo, from series that the simulation recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allegro_dist.analysis.green_kubo import NUM_SEGMENTS, GreenKubo, conductivity, viscosity
from allegro_dist.drawing import MODEL, QUIET, add_axes, new_figure, png
from allegro_dist.report.page import Picture, Section, Table, Text
from allegro_dist.report.part import LeftOut, Part
from allegro_dist.simulate.folder import Simulation, StageSpan
from allegro_dist.simulate.settings import Nve, Nvt
from allegro_dist.simulate.tables import HEAT_FLUX, HEAT_FLUX_FILE, STRESS, STRESS_FILE

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Transport:
    """A coefficient and how it came about."""

    title: str
    unit: str
    file: str
    columns: tuple[str, ...]
    compute: Callable[..., GreenKubo]
    note: str


VISCOSITY = Transport(
    "Viscosity", "mPa s", STRESS_FILE, tuple(STRESS), viscosity,
    "Of an isotropic fluid; a crystal has none, and its integral comes to no plateau.",
)  # fmt: skip
CONDUCTIVITY = Transport(
    "Thermal conductivity", "W/m/K", HEAT_FLUX_FILE, tuple(HEAT_FLUX), conductivity,
    "Mean of the three directions. In a fluid of several types the heat that diffusing atoms carry is in it.",
)  # fmt: skip


def transport_part(kind: Transport, run: Simulation, stage: StageSpan, discard: float, begin: float | None) -> Part:
    """The coefficient of a stage; `begin`: of the plateau, ps, or None."""
    _refuse_unfit(kind, run, stage)
    series, interval = _series(kind, run, stage, discard)
    thermo = run.rows(stage, discard)
    if not len(thermo["step"]):
        raise LeftOut(f"thermo.csv has no line of stage {stage.name}, which tells volume and temperature")
    volume, temperature = float(thermo["volume_A3"].mean()), float(thermo["temperature_K"].mean())
    try:
        found = kind.compute(series, volume, temperature, interval, begin)
    except ValueError as error:
        raise LeftOut(f"{kind.file}, stage {stage.name}: {error}") from error
    picture = Picture(_draw(kind, found), "Autocorrelation over its first value, and its running integral with "
                      "standard errors; shaded: the plateau.", wide=True)  # fmt: skip
    return Part(Section(kind.title, [_result(kind, found, temperature), Text(kind.note), picture]), found)


def _refuse_unfit(kind: Transport, run: Simulation, stage: StageSpan) -> None:
    """Raise LeftOut for a stage to which the formulas do not apply, or which recorded nothing."""
    if not (run.folder / kind.file).exists():
        setting = kind.file.removesuffix(".csv")
        raise LeftOut(f"no {kind.file}: record: {{{setting}: N}} in a simulation's settings writes it")
    settings = stage.settings
    if not isinstance(settings, (Nve, Nvt)) or isinstance(getattr(settings, "temperature", 0.0), tuple):
        raise LeftOut(f"stage {stage.name}: Green and Kubo's formulas need nve, or nvt at one temperature")
    first = run.first_frame()
    if first is None or not all(first.pbc):
        raise LeftOut("no volume: the simulation is not periodic in all directions")


def _series(kind: Transport, run: Simulation, stage: StageSpan, discard: float) -> tuple[Array, float]:
    """[T, C] what a stage recorded, and the time between lines, ps."""
    table = run.series(kind.file, stage, discard)
    intervals = set(np.diff(table["step"]))
    if len(intervals) > 1:
        raise LeftOut(f"{kind.file} has lines at unequal intervals: {sorted(map(int, intervals))} steps")
    interval = float(intervals.pop()) * stage.timestep if intervals else 0.0
    return np.stack([table[name] for name in kind.columns], axis=1), interval


def _result(kind: Transport, found: GreenKubo, temperature: float) -> Table | Text:
    if found.coefficient is None or found.plateau is None:
        return Text(f"No {kind.title.lower()}: the integral comes to no plateau: there is none, or the stage is short.")
    row = (str(found.coefficient), f"{temperature:.1f}", f"{found.plateau[0]:.3g} to {found.plateau[1]:.3g}")
    caption = f"mean and standard error of {NUM_SEGMENTS} segments; what comes behind the plateau is not in it"
    return Table((f"{kind.title.lower()}, {kind.unit}", "at K", "plateau, ps"), [row], caption)


def _draw(kind: Transport, found: GreenKubo) -> bytes:
    figure = new_figure(9.0, 3.4)
    shown = slice(None)
    if found.plateau is not None:
        shown = slice(0, int(np.searchsorted(found.times, 3 * found.plateau[1])) + 1)
    times = found.times[shown]
    axes = add_axes(figure, 1, 2, 1)
    axes.axhline(0.0, color=QUIET, linewidth=0.6)
    axes.plot(times, found.correlation[shown], color=MODEL, linewidth=1.0)
    axes.set(xlabel="time, ps", ylabel="autocorrelation")
    axes = add_axes(figure, 1, 2, 2)
    integral, error = found.integral[shown], found.error[shown]
    axes.fill_between(times, integral - error, integral + error, color=MODEL, alpha=0.25, linewidth=0)
    axes.plot(times, integral, color=MODEL, linewidth=1.2)
    if found.plateau is not None:
        axes.axvspan(*found.plateau, color=QUIET, alpha=0.25, linewidth=0)
    axes.set(xlabel="time, ps", ylabel=f"{kind.title.lower()}, {kind.unit}")
    return png(figure)
