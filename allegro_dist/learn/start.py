"""What a loop begins with: checked before anything is computed, and its first frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from allegro_dist.config import ConfigError, read_values
from allegro_dist.data.structure import DataError, Structure, read_structures
from allegro_dist.learn.calculators import find_calculator
from allegro_dist.learn.settings import LearningConfig, differing_keys
from allegro_dist.simulate.start import read_structure


def read_start(config: LearningConfig) -> list[Structure]:
    """The first frames, all with labels or all without; raises DataError as it says, ConfigError for a mixture."""
    frames = read_structures(config.data.start)
    labelled = [frame for frame in frames if is_labelled(frame)]
    if labelled and len(labelled) < len(frames):
        bare = next(frame for frame in frames if not is_labelled(frame))
        raise ConfigError(
            f"data.start: {len(labelled)} of {len(frames)} frames have energy and forces, but {bare.source} does not: "
            "give labels of all or of none"
        )
    return frames


def is_labelled(frame: Structure) -> bool:
    return frame.energy is not None and frame.forces is not None


def without_labels(frame: Structure) -> Atoms:
    """ASE's form of a frame, to be labelled."""
    atoms = frame.as_atoms()
    atoms.info["config_type"] = "start"
    return atoms


def check(config: LearningConfig, start: Sequence[Structure]) -> None:
    """Raise ConfigError or DataError for what would only show when work has been done."""
    find_calculator(config.label.calculator)
    known = {symbol for frame in start for symbol in frame.symbols}
    for number, simulation in enumerate(config.simulations):
        _, types = read_structure(simulation)
        if missing := [name for name in types if name not in known]:
            raise DataError(
                f"simulations.{number}: {simulation.structure.file} has '{missing[0]}', of which no frame of "
                f"data.start ({config.data.start}) has an atom"
            )
    if config.data.test is not None:
        for frame in read_structures(config.data.test):
            if not is_labelled(frame):
                raise DataError(f"data.test: {frame.source} has no energy or no forces")


def check_same_loop(config: LearningConfig, written: Path) -> None:
    """Raise ConfigError where the folder's config.yaml is that of another loop."""
    if written.exists() and (differing := differing_keys(config, read_values(written))):
        raise ConfigError(
            f"{written.parent} belongs to a loop with other settings: {', '.join(differing)}. Take another dir, or "
            "delete it"
        )
