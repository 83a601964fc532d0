"""Reads the folder of a simulation, finished or not: its stages, thermo.csv and trajectory.

Of one that is not finished, also what LAMMPS has written since the last checkpoint.  All of that belongs to the stage
of that checkpoint, for each stage ends with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.units import fs
from numpy.typing import NDArray

from allegro_dist.config import ConfigError, read_values
from allegro_dist.simulate.checkpoint import Checkpoint, SimulationError, read_checkpoint
from allegro_dist.simulate.lammps_files import PICOSECOND, as_atoms, new_rows, read_dump, whole_lines
from allegro_dist.simulate.outputs import DUMP, EXTENDED, FRAMES
from allegro_dist.simulate.settings import Minimize, SimulationConfig, Stage, read_simulation
from allegro_dist.simulate.tables import Table, tables

Array = NDArray[np.float64]


@dataclass(frozen=True)
class StageSpan:
    """A stage and its steps, as far as it has come; the step at which it begins is the end of the one before."""

    number: int
    settings: Stage
    first: int
    last: int
    timestep: float  # ps

    @property
    def name(self) -> str:
        return f"{self.number}: {self.settings.stage}"

    @property
    def is_dynamics(self) -> bool:
        return not isinstance(self.settings, Minimize)

    def steps(self, discard: float = 0.0) -> tuple[float, int]:
        """First and last step of what is left when a fraction is discarded at the beginning."""
        return self.first + discard * (self.last - self.first), self.last


@dataclass(frozen=True)
class Motion:
    """Frames at equal intervals."""

    interval: float  # ps
    frames: list[Atoms]
    positions: Array  # [T, N, 3] Angstrom, unwrapped, in the mean cell, center of mass at rest
    velocities: Array | None  # [T, N, 3] Angstrom/ps, relative to the center of mass; None: all are zero


@dataclass(frozen=True)
class Simulation:
    """A simulation's folder."""

    folder: Path
    config: SimulationConfig
    checkpoint: Checkpoint  # from which everything here was read
    stages: tuple[StageSpan, ...]
    thermo: dict[str, Array]  # columns of thermo.csv

    @property
    def finished(self) -> bool:
        return self.checkpoint.finished

    def rows(self, stage: StageSpan, discard: float = 0.0) -> dict[str, Array]:
        """The lines of a stage in thermo.csv."""
        return _within(self.thermo, stage.steps(discard))

    def series(self, file: str, stage: StageSpan, discard: float = 0.0) -> dict[str, Array]:
        """The lines of a stage in stress.csv or heat_flux.csv."""
        (table,) = (table for table in tables(self.config) if table.file == file)
        return _within(read_table(self.folder, table, self.checkpoint), stage.steps(discard))

    def frames(self, stage: StageSpan, discard: float = 0.0) -> Iterator[Atoms]:
        """The frames of a stage."""
        first, last = stage.steps(discard)
        for atoms in read_trajectory(self.folder, self.checkpoint):
            if first <= atoms.info["step"] <= last:
                yield atoms

    def first_frame(self) -> Atoms | None:
        """Of the trajectory."""
        return next(read_trajectory(self.folder, self.checkpoint), None)

    def last_frame(self) -> Atoms | None:
        """Of the trajectory, without reading the others in extxyz."""
        extended, last = self.folder / EXTENDED, _last_saved(self.checkpoint)
        if not self.finished and (fresh := read_dump(self.folder / FRAMES, last)):
            return as_atoms(fresh[-1])
        if extended.exists() and extended.stat().st_size:
            atoms = ase.io.read(extended, index=-1, format="extxyz", parallel=False)
            assert isinstance(atoms, Atoms)  # a list only where an index asks for one
            return atoms
        saved = [frame for frame in read_dump(self.folder / DUMP) if frame.step <= last]
        return as_atoms(saved[-1]) if saved else None


def read_folder(folder: Path) -> Simulation:
    """Read all but the frames; raises SimulationError for a folder that is none, or has no line of thermo.csv yet."""
    checkpoint = read_checkpoint(folder) or _begun(folder)
    try:
        config = read_simulation(checkpoint.config, str(folder))
    except ConfigError as error:
        raise SimulationError(f"{folder}: not the folder of a simulation: {error}") from error
    thermo = read_table(folder, tables(config)[0], checkpoint)
    if not len(thermo["step"]):
        raise SimulationError(f"{folder}: the simulation has written nothing yet")
    ends, now = checkpoint.ends, max(checkpoint.step, int(thermo["step"][-1]))
    if len(ends) < len(config.stages) and now > (ends[-1] if ends else 0):
        ends = (*ends, now)
    firsts = [0, *(end + 1 for end in ends)]
    stages = tuple(
        StageSpan(n, s, first, last, (getattr(s, "timestep", None) or config.timestep) * fs / PICOSECOND)
        for n, (s, first, last) in enumerate(zip(config.stages, firsts, ends, strict=False))
    )
    return Simulation(folder, config, checkpoint, stages, thermo)


def _begun(folder: Path) -> Checkpoint:
    """Of a simulation that has come to no checkpoint."""
    if not (folder / "config.yaml").exists():
        raise SimulationError(f"{folder}: not the folder of a simulation: it has neither checkpoint nor config.yaml")
    return Checkpoint(read_values(folder / "config.yaml"))


def _within(table: dict[str, Array], steps: tuple[float, int]) -> dict[str, Array]:
    """The lines from a first to a last step."""
    inside = (table["step"] >= steps[0]) & (table["step"] <= steps[1])
    return {name: values[inside] for name, values in table.items()}


def read_table(folder: Path, table: Table, checkpoint: Checkpoint) -> dict[str, Array]:
    """Columns of thermo.csv, or of a series."""
    lines = whole_lines(folder / table.file, 0)[0].splitlines() or [table.first_line]
    if not checkpoint.finished:
        last = int(float(lines[-1].partition(",")[0])) if len(lines) > 1 else -1
        rows, _ = new_rows(folder / table.source, 0, len(table.head))
        lines += map(table.line, table.behind(last, rows))
    found = np.genfromtxt(lines, delimiter=",", names=True, ndmin=1)
    return {name: np.asarray(found[name], dtype=float) for name in found.dtype.names or ()}


def read_trajectory(folder: Path, checkpoint: Checkpoint | None) -> Iterator[Atoms]:
    """All frames, with their step in info."""
    extended, last = folder / EXTENDED, _last_saved(checkpoint)
    if extended.exists() and extended.stat().st_size and last >= 0:
        for atoms in ase.io.iread(extended, index=":", format="extxyz", parallel=False):
            yield atoms
            if atoms.info["step"] == last:
                break  # what may follow is being written
    elif last >= 0:
        yield from (as_atoms(frame) for frame in read_dump(folder / DUMP) if frame.step <= last)
    if checkpoint is None or not checkpoint.finished:
        yield from (as_atoms(frame) for frame in read_dump(folder / FRAMES, last))


def _last_saved(checkpoint: Checkpoint | None) -> int:
    """Step of the last frame that the trajectory has, by the checkpoint; -1 if there is none."""
    written = checkpoint.written if checkpoint else {}
    return max((written[name].step for name in (EXTENDED, DUMP) if name in written), default=-1)


def motion(frames: list[Atoms], timestep: float) -> Motion:
    """Positions and velocities of frames; raises ValueError for frames at unequal intervals.

    Positions are taken at equal fractions of the mean cell: a cell that breathes would otherwise carry atoms along, the
    farther the more often they crossed its faces (von Buelow et al., J. Chem. Phys. 153, 021101).
    """
    steps = np.array([atoms.info["step"] for atoms in frames])
    if len(set(np.diff(steps))) != 1:
        raise ValueError(f"frames at equal intervals are needed, got steps {', '.join(map(str, steps[:5]))}...")
    masses = frames[0].get_masses()
    positions = np.stack([atoms.positions for atoms in frames])
    if all(frames[0].pbc):
        mean = np.mean([atoms.cell.array for atoms in frames], axis=0)
        positions = np.stack([r @ np.linalg.solve(atoms.cell.array, mean) for r, atoms in zip(positions, frames)])
    velocities = np.stack([atoms.get_velocities() for atoms in frames]) * PICOSECOND
    return Motion(
        interval=float(steps[1] - steps[0]) * timestep,
        frames=frames,
        positions=_at_rest(positions, masses),
        velocities=_at_rest(velocities, masses) if velocities.any() else None,
    )


def _at_rest(vectors: Array, masses: Array) -> Array:
    """[T, N, 3] relative to the center of mass."""
    center: Array = np.einsum("tni,n->ti", vectors, masses)[:, None] / masses.sum()
    rest: Array = vectors - center
    return rest
