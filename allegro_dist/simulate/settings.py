"""Every setting of a simulation, as frozen dataclasses; read and checked as the settings of a training run are.

Units are those of LAMMPS's `units metal` (eV, Angstrom, bar, K), but times are fs.
"""

from __future__ import annotations

import difflib
from dataclasses import field, fields
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from allegro_dist.config import STRICT, ConfigError, Count, NonNegative, Positive, from_dict, to_dict

Seed = Annotated[int, Field(ge=1, lt=2**31 - 10**6)]
Ramp = Positive | tuple[Positive, Positive]
"""A value, or the values at the beginning and at the end, between which it changes linearly."""
Pressure = float | tuple[float, float]
Direction = Literal["x", "y", "z"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StructureSettings:
    """What is simulated at first."""

    file: str
    """Anything that ASE reads, or a LAMMPS data file (then `types` is needed)."""
    types: tuple[str, ...] | None = None
    """Chemical symbols of the LAMMPS types, in order; found from the structure when ASE reads it."""
    replicate: tuple[Count, Count, Count] = (1, 1, 1)
    """How often the cell is repeated along each of its vectors."""
    temperature: NonNegative | None = None
    """Draw velocities for this temperature, K; null: take the file's own, or none."""
    seed: Seed = 4928459
    """Of the velocities."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Minimize:
    """Bring the atoms to rest (conjugate gradients)."""

    stage: Literal["minimize"] = "minimize"
    force_tolerance: Positive = 1e-3
    """Norm of all forces at which to stop, eV/Angstrom."""
    max_steps: Count = 10_000
    """Steps at most."""
    cell: Literal["fixed", "iso", "aniso", "tri"] = "fixed"
    """Which of the cell's strains are relaxed, too."""
    pressure: float = 0.0
    """Of the relaxed cell, bar."""
    commands: tuple[str, ...] = ()
    """LAMMPS commands before the stage, verbatim."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Dynamics:
    """What all molecular dynamics has."""

    steps: Count
    """Number of steps."""
    timestep: Positive | None = None
    """fs; null: that of the simulation."""
    commands: tuple[str, ...] = ()
    """LAMMPS commands before the stage, verbatim; issued again when an interrupted stage goes on."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AtConstantVolume(Dynamics):
    """What dynamics has that can leave atoms out."""

    atoms: tuple[Count, Count] | None = None
    """IDs of the first and the last atom that move, counted from 1 in the order of the file, replicas behind one
    another; the others stand still, and the thermostat is that of those that move. null: all."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Nve(AtConstantVolume):
    """Constant energy and volume."""

    stage: Literal["nve"] = "nve"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Thermostatted(Dynamics):
    """What all dynamics at a temperature has."""

    temperature: Ramp
    """K; [first, last]: a ramp."""
    damping: Positive = 100.0
    """Time of the thermostat, fs."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AtPressure(Dynamics):
    """What all dynamics with a barostat has."""

    pressure: Pressure = 0.0
    """bar; [first, last]: a ramp."""
    coupling: Literal["iso", "aniso", "tri", "x", "y", "z"] = "iso"
    """How the cell may change: its volume, its three lengths, its shape, too, or one length alone."""
    pressure_damping: Positive = 1000.0
    """Time of the barostat, fs."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Nvt(AtConstantVolume, Thermostatted):
    """Nosé-Hoover thermostat, constant volume."""

    stage: Literal["nvt"] = "nvt"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Npt(AtPressure, Thermostatted):
    """Nosé-Hoover thermostat and barostat."""

    stage: Literal["npt"] = "npt"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Nph(AtPressure):
    """Barostat alone: constant enthalpy."""

    stage: Literal["nph"] = "nph"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Langevin(AtConstantVolume, Thermostatted):
    """Langevin thermostat, constant volume."""

    stage: Literal["langevin"] = "langevin"
    seed: Seed = 3081973
    """Of the random forces; each part between two checkpoints has a seed of its own, counted on from this one."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Deform(Dynamics):
    """Change the cell's lengths at a constant rate, atoms moved along."""

    stage: Literal["deform"] = "deform"
    scale: dict[Direction, Positive]
    """Final over first length: {x: 1.1}."""
    temperature: Ramp | None = None
    """K, of a Nosé-Hoover thermostat; null: none."""
    damping: Positive = 100.0
    """Time of the thermostat, fs."""


Stage = Minimize | Nve | Nvt | Npt | Nph | Langevin | Deform
STAGES: dict[str, type] = {
    "minimize": Minimize, "nve": Nve, "nvt": Nvt, "npt": Npt, "nph": Nph, "langevin": Langevin, "deform": Deform,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrajectorySettings:
    """Frames on disk."""

    every: Count = 100
    """Steps between frames; of a committee, deviations are computed as often."""
    format: Literal["extxyz", "lammps"] = "extxyz"
    """trajectory.xyz (with energy and forces), or trajectory.dump as LAMMPS writes it."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RecordSettings:
    """Series for `allegro-dist analyse`, which finds viscosity and thermal conductivity by them; null: none."""

    stress: Count | None = None
    """Steps between lines of stress.csv."""
    heat_flux: Count | None = None
    """Steps between lines of heat_flux.csv, the energy current; computing it costs about a step."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SimulationConfig:
    """The whole of a simulation."""

    structure: StructureSettings
    model: str | tuple[str, ...] | None
    """Archive, or several: a committee; null: `commands` name a pair style of LAMMPS's own."""
    stages: tuple[Stage, ...]
    """What is done, in sequence; each entry names its `stage`: minimize, nve, nvt, npt, nph, langevin or deform."""
    dir: str = "simulation"
    """Folder of the outputs; a simulation found in it goes on."""
    timestep: Positive = 1.0
    """fs."""
    thermo_every: Count = 100
    """Steps between lines of thermo.csv."""
    json_lines: bool = False
    """Write thermo.jsonl beside thermo.csv: the same lines as JSON objects."""
    checkpoint_every: Count = 10_000
    """Steps between checkpoints. Results depend on it in their last digits: neighbor lists are new after each."""
    trajectory: TrajectorySettings = field(default_factory=TrajectorySettings)
    """Frames on disk."""
    record: RecordSettings = field(default_factory=RecordSettings)
    """Series on disk, for viscosity and thermal conductivity."""
    pair_options: str = ""
    """Words behind `pair_style allegro`, such as `device cuda`."""
    max_temperature: Positive = 1e5
    """K, beyond which the simulation is stopped as blown up."""
    commands: tuple[str, ...] = ()
    """LAMMPS commands behind the pair style, verbatim; issued again when a simulation goes on."""

    @model_validator(mode="after")
    def _check(self) -> SimulationConfig:
        if not self.stages:
            raise ValueError("stages: at least one is needed")
        if not self.models and not any(command.split()[:1] == ["pair_style"] for command in self.commands):
            raise ValueError("model: an archive is needed where commands have no pair_style")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,) if isinstance(self.model, str) else self.model or ()


def read_simulation(values: dict[str, Any], source: str) -> SimulationConfig:
    """Check nested plain values; raises ConfigError that names each bad key, of stages by their number."""
    stages = values.get("stages") or ()
    if not isinstance(stages, (list, tuple)):
        raise ConfigError(f"{source}: 'stages': expected a list, got {stages!r}")
    read = [_read_stage(stage, f"{source}: stages.{number}") for number, stage in enumerate(stages)]
    config: SimulationConfig = from_dict(SimulationConfig, {**values, "stages": tuple(read)}, source)
    return config


def _read_stage(values: Any, source: str) -> Stage:
    if not isinstance(values, dict) or "stage" not in values:
        raise ConfigError(f"{source}: expected keys and values with 'stage' among them, got {values!r}")
    name = str(values["stage"])
    if name not in STAGES:
        near = difflib.get_close_matches(name, STAGES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(STAGES)}"
        raise ConfigError(f"{source}: unknown stage '{name}'; {hint}")
    stage: Stage = from_dict(STAGES[name], values, f"{source} ({name})")
    return stage


def differing_keys(config: SimulationConfig, other: dict[str, Any]) -> list[str]:
    """Top-level keys in which a configuration differs from another's plain values, where that makes another run."""
    now = to_dict(config)
    return [f.name for f in fields(SimulationConfig) if f.name != "dir" and now[f.name] != other.get(f.name)]
