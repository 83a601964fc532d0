"""Melting point by coexistence of crystal and liquid at constant enthalpy.

Where some crystal melts, heat is used up, where some liquid freezes, heat is set free: the temperature ends at the
melting point, as long as both phases are there (Morris et al., Phys. Rev. B 49, 3109, 1994).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from allegro_dist.analysis.averages import Average, average
from allegro_dist.analysis.coexistence import coexistence, planes_across
from allegro_dist.config import ConfigError
from allegro_dist.data.structure import read_atoms
from allegro_dist.drawing import MODEL, REFERENCE, add_axes, new_figure, png
from allegro_dist.files import replacing
from allegro_dist.properties.settings import MeltingSettings, PropertiesConfig
from allegro_dist.properties.simulations import simulation
from allegro_dist.report.page import Block, Picture, Section, Table, Text
from allegro_dist.report.part import Part
from allegro_dist.simulate.folder import read_folder
from allegro_dist.simulate.settings import Langevin, Minimize, Nph, Npt, SimulationConfig, Stage, StructureSettings

FOLDER, STRUCTURE = "melting", "melting.xyz"
HOT = 2.5
"""Times the guess."""
NUM_FRAMES, NUM_WARM_FRAMES = 100, 10
"""Of crystal and liquid, and of the warm crystal, at least."""
WARM, BOTH = 1, 5
"""Numbers of the stages of the crystal alone, and of both at constant enthalpy."""
AT_REST = "fix at_rest all momentum 1000 linear 1 1 1"
"""Atoms that stood still took up momentum, which would count as heat."""
PRESENT = (0.1, 0.9)
"""Shares of crystal between which both phases are there."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Melting:
    """What crystal and liquid beside one another tell."""

    melting_point: Average | None  # K; None: one of the phases is gone
    temperature: Average  # K, of the part that counts
    pressure: Average  # bar, along z, of that part
    num_atoms: int
    first_time: float  # ps, of that part
    times: Array  # [L] ps
    temperatures: Array  # [L] K
    frame_times: Array  # [F] ps
    share: Array  # [F] of crystal
    order: Array  # [F, slabs along z]


def melting_simulation(config: PropertiesConfig, m: MeltingSettings) -> SimulationConfig:
    """Melts one half of the structure that write_structure writes; then both.

    Raises ConfigError for a cell that can't be cut across z, DataError for one that can't be read.
    """
    start = StructureSettings(file=str(_structure(config)), temperature=2 * m.guess, seed=config.seed)
    every = max(1, min(m.steps // NUM_FRAMES, m.warm_steps // NUM_WARM_FRAMES))
    return simulation(config, FOLDER, start, _stages(config, m, len(_lower_half_first(config, m))), every)


def write_structure(config: PropertiesConfig, m: MeltingSettings) -> None:
    """The repeated cell; raises as melting_simulation."""
    atoms = _lower_half_first(config, m)
    with replacing(_structure(config)) as part:
        ase.io.write(part, atoms, format="extxyz", parallel=False)


def melting_part(config: PropertiesConfig, m: MeltingSettings) -> Part:
    """What the finished simulation tells."""
    found = _look(config, m)
    rows = [
        ("melting point, K", str(found.melting_point or "none")),
        ("mean temperature, K", str(found.temperature)),
        ("pressure along z, bar", str(found.pressure)),
        ("crystalline share at first, at last", f"{found.share[0]:.2f}, {found.share[-1]:.2f}"),
        ("atoms", f"{found.num_atoms:,}"),
    ]
    caption = "Temperature, with its mean where it counts; crystalline share; where along z the crystal is (dark)."
    picture = Picture(_draw(found), caption, wide=True)
    blocks: list[Block] = [Table(("", "crystal and liquid"), rows), Text(_verdict(found, m)), picture]
    return Part(Section("Melting point", blocks), found)


def _structure(config: PropertiesConfig) -> Path:
    return Path(config.dir) / STRUCTURE


def _lower_half_first(config: PropertiesConfig, m: MeltingSettings) -> Atoms:
    """The repeated cell, its atoms in the order of z."""
    cell = read_atoms(config.structure)
    try:
        planes_across(cell)
    except ValueError as error:
        raise ConfigError(f"melting: {config.structure}: {error}") from error
    atoms: Atoms = cell.repeat(m.replicate)
    ordered: Atoms = atoms[np.argsort(atoms.get_scaled_positions()[:, 2], kind="stable")]
    return ordered


def _stages(config: PropertiesConfig, m: MeltingSettings, num_atoms: int) -> tuple[Stage, ...]:
    upper, hot = (num_atoms // 2 + 1, num_atoms), m.hot or HOT * m.guess
    return (
        Minimize(cell=m.coupling),
        Npt(temperature=m.guess, coupling=m.coupling, steps=m.warm_steps),
        Langevin(temperature=hot, atoms=upper, steps=m.melt_steps, seed=config.seed),
        Langevin(temperature=(hot, m.guess), atoms=upper, steps=m.cool_steps, seed=config.seed + m.melt_steps),
        Npt(temperature=m.guess, coupling="z", steps=m.settle_steps, commands=(AT_REST,)),
        Nph(coupling="z", steps=m.steps, commands=(AT_REST,)),
    )


def _look(config: PropertiesConfig, m: MeltingSettings) -> Melting:
    run = read_folder(Path(config.dir) / FOLDER)
    warm, both = run.stages[WARM], run.stages[BOTH]
    frames = list(run.frames(both))
    two = coexistence(read_atoms(config.structure), m.replicate, run.frames(warm, discard=0.5), frames)
    rows, counted = run.rows(both), run.rows(both, m.discard)
    temperature = average(counted["temperature_K"])
    last = two.share[-max(1, len(two.share) // 4) :].mean()
    return Melting(
        melting_point=temperature if PRESENT[0] < last < PRESENT[1] else None,
        temperature=temperature,
        pressure=average(counted["pzz_bar"]),
        num_atoms=len(frames[0]),
        first_time=float(counted["time_ps"][0]),
        times=rows["time_ps"],
        temperatures=rows["temperature_K"],
        frame_times=np.array([atoms.info["step"] for atoms in frames]) * both.timestep,
        share=two.share,
        order=two.order,
    )


def _verdict(found: Melting, m: MeltingSettings) -> str:
    if found.melting_point is not None:
        return "Both phases are there at the end. The error is that of the mean, by blocks of the series."
    gone, side = ("liquid", "above") if found.share[-1] > 0.5 else ("crystal", "below")
    return f"The {gone} is gone: begin again, in another folder, with a guess {side} {m.guess:g} K, or a longer cell."


def _draw(found: Melting) -> bytes:
    figure = new_figure(11.0, 3.2)
    axes = add_axes(figure, 1, 3, 1)
    axes.plot(found.times, found.temperatures, color=MODEL, linewidth=0.6)
    axes.hlines(found.temperature.value, found.first_time, found.times[-1], color=REFERENCE, linewidth=1.8)
    axes.set(xlabel="time, ps", ylabel="temperature, K")
    axes = add_axes(figure, 1, 3, 2)
    axes.plot(found.frame_times, found.share, color=MODEL, linewidth=1.0)
    axes.set(xlabel="time, ps", ylabel="crystalline share", ylim=(0, 1))
    axes = add_axes(figure, 1, 3, 3)
    extent = (found.frame_times[0], found.frame_times[-1], 0.0, 1.0)
    axes.imshow(found.order.T, origin="lower", aspect="auto", extent=extent, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="time, ps", ylabel="z / height of the cell")
    return png(figure)
