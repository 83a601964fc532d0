"""Sections: mean square displacement and diffusion; velocity autocorrelation and vibrational density of states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allegro_dist.analysis.averages import Average
from allegro_dist.analysis.motion import (
    FEWEST_FRAMES,
    FIT,
    NUM_BLOCKS,
    Diffusion,
    Vibrations,
    diffusion,
    mean_square_displacement,
    vibrations,
)
from allegro_dist.drawing import MODEL, add_axes, new_axes, new_figure, png
from allegro_dist.report.page import Picture, Section, Table, Text
from allegro_dist.report.part import LeftOut, Part
from allegro_dist.simulate.folder import Motion

Array = NDArray[np.float64]
FEWEST_VELOCITIES = 20
ANGSTROM2_PER_PS = 10.0  # in 1e-5 cm^2/s


@dataclass(frozen=True)
class TypeDiffusion:
    """Of the atoms of a type."""

    symbol: str
    times: Array  # ps, up to half of the stage
    displacement: Array  # Angstrom^2
    diffusion: Diffusion | None  # None: too few frames


def diffusion_part(moving: Motion, stage: str) -> Part:
    """Displacements of every type, and the coefficients where there are frames enough."""
    if len(moving.frames[0]) < 2:
        raise LeftOut("one atom does not move against its center of mass")
    found = [_diffusion(moving, symbol) for symbol in _symbols(moving)]
    figure, axes = new_axes(9.0, 3.4)
    for d in found:
        axes.plot(d.times, d.displacement, linewidth=1.1, label=d.symbol)
    axes.set(xlabel="time, ps", ylabel="mean square displacement, Å²", ylim=(0, None))
    axes.legend(frameon=False)
    picture = Picture(png(figure), "Mean square displacement, over all origins in time.", wide=True)
    few = f"No diffusion coefficient: stage {stage} has {len(moving.frames)} frames, {FEWEST_FRAMES} are needed."
    rows = [_row(d.symbol, d.diffusion) for d in found if d.diffusion is not None]
    caption = (
        f"slope / 6 from {FIT[0]:g} to {FIT[1]:g} of the length of a block, mean of {NUM_BLOCKS} blocks; without "
        "correction for the size of the cell. Where the exponent is above 1, blocks are too short for diffusion, where "
        "it is below, atoms are bound: D is none then"
    )
    table = Table(("type", "D, Å²/ps", "D, 1e-5 cm²/s", "exponent of time"), rows, caption) if rows else Text(few)
    return Part(Section("Diffusion", [table, picture]), found)


def vibrations_part(moving: Motion, stage: str) -> Part:
    """Velocity autocorrelation and its spectrum."""
    if moving.velocities is None:
        raise LeftOut("no velocities: all are zero")
    if len(moving.frames) < FEWEST_VELOCITIES:
        raise LeftOut(f"stage {stage} has {len(moving.frames)} frames, {FEWEST_VELOCITIES} are needed")
    atoms = moving.frames[0]
    found = vibrations(moving.velocities, atoms.get_masses(), atoms.get_chemical_symbols(), moving.interval)
    note = Text(
        f"Frames are {1e3 * moving.interval:g} fs apart: vibrations above {found.frequencies[-1]:.3g} THz would appear "
        f"at lower frequencies. Frequencies are {found.frequencies[1]:.2g} THz apart."
    )
    picture = Picture(_draw(found), "Mass-weighted velocity autocorrelation, and its spectrum by type.", wide=True)
    return Part(Section("Vibrations", [note, picture]), found)


def _symbols(moving: Motion) -> list[str]:
    return sorted(set(moving.frames[0].get_chemical_symbols()))


def _diffusion(moving: Motion, symbol: str) -> TypeDiffusion:
    positions = moving.positions[:, np.array(moving.frames[0].get_chemical_symbols()) == symbol]
    displacement = mean_square_displacement(positions)[: len(positions) // 2 + 1]
    enough = len(positions) >= FEWEST_FRAMES
    coefficient = diffusion(positions, moving.interval) if enough else None
    return TypeDiffusion(
        symbol, moving.interval * np.arange(len(displacement), dtype=np.float64), displacement, coefficient
    )


def _row(symbol: str, d: Diffusion) -> tuple[str, ...]:
    value, error = d.coefficient.value, d.coefficient.error
    scaled = Average(ANGSTROM2_PER_PS * value, None if error is None else ANGSTROM2_PER_PS * error)
    return symbol, str(d.coefficient), str(scaled), f"{d.exponent:.2f}"


def _draw(v: Vibrations) -> bytes:
    figure = new_figure(9.0, 3.4)
    axes = add_axes(figure, 1, 2, 1)
    axes.plot(v.times, v.correlation, color=MODEL, linewidth=1.0)
    axes.set(xlabel="time, ps", ylabel="velocity autocorrelation")
    axes = add_axes(figure, 1, 2, 2)
    axes.plot(v.frequencies, v.density, color="0.2", linewidth=1.0, label="all")
    if len(v.by_type) > 1:
        for symbol, density in v.by_type.items():
            axes.plot(v.frequencies, density, linewidth=0.9, label=symbol)
    axes.set(xlabel="frequency, THz", ylabel="density of states, 1/THz", ylim=(0, None))
    axes.legend(frameon=False)
    return png(figure)
