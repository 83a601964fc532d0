"""What the simulations of a study have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allegro_dist.properties.settings import PropertiesConfig
from allegro_dist.simulate.settings import SimulationConfig, Stage, StructureSettings, TrajectorySettings

THERMO_EVERY = 20
"""Steps between values that are averaged."""


def simulation(
    config: PropertiesConfig,
    name: str,
    structure: StructureSettings,
    stages: Sequence[Stage],
    frames_every: int,
) -> SimulationConfig:
    """A simulation in a folder of that name."""
    return SimulationConfig(
        structure=structure,
        model=config.model,
        stages=tuple(stages),
        dir=str(Path(config.dir) / name),
        timestep=config.timestep,
        thermo_every=THERMO_EVERY,
        checkpoint_every=config.checkpoint_every,
        trajectory=TrajectorySettings(every=frames_every),
        pair_options=config.pair_options,
        commands=config.commands,
    )
