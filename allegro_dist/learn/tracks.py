"""The frames of a simulation for the harvest, with their times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from allegro_dist.learn.harvest import Track
from allegro_dist.simulate.checkpoint import Checkpoint
from allegro_dist.simulate.folder import read_trajectory
from allegro_dist.simulate.settings import Minimize, SimulationConfig
from allegro_dist.simulate.start import read_structure


def read_track(config: SimulationConfig, checkpoint: Checkpoint | None) -> Track:
    """All frames of a simulation's folder, also of one that ended in an error; `checkpoint`: where it stands."""
    given = np.diag(config.structure.replicate) @ read_structure(config)[0].cell.standard_form()[0]
    frames = list(read_trajectory(Path(config.dir), checkpoint))
    for atoms in frames:
        atoms.set_cell(with_open_vectors(atoms.cell[:], atoms.pbc, given))
    steps = np.array([atoms.info["step"] for atoms in frames], dtype=float)
    return Track(frames, times_of(steps, config, checkpoint))


def with_open_vectors(cell: NDArray[Any], pbc: NDArray[np.bool_], given: NDArray[Any]) -> NDArray[Any]:
    """A cell whose open directions are those of another, the simulation's own (zero where it has none).

    LAMMPS's box ends there at the outermost atoms, with no vacuum for a calculator that takes every cell for periodic.
    """
    return np.where(pbc[:, None], cell, given)


def times_of(
    steps: NDArray[np.float64], config: SimulationConfig, checkpoint: Checkpoint | None
) -> NDArray[np.float64]:
    """fs since the beginning, minimizations taking none."""
    ends = checkpoint.ends if checkpoint else ()
    at, time = [0.0], [0.0]
    for number, stage in enumerate(config.stages):
        end = ends[number] if number < len(ends) else at[-1] + getattr(stage, "steps", 0)
        timestep = 0.0 if isinstance(stage, Minimize) else stage.timestep or config.timestep
        time.append(time[-1] + (end - at[-1]) * timestep)
        at.append(float(end))
    return np.interp(steps, at, time)
