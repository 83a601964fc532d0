"""Every setting of a learning loop, as frozen dataclasses; read and checked as the settings of a training run are."""

from __future__ import annotations

from dataclasses import field, replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from allegro_dist.config import (
    STRICT,
    AllegroConfig,
    ConfigError,
    Count,
    Fraction,
    ModelConfig,
    NonNegative,
    Positive,
    TrainingConfig,
    from_dict,
    merged,
    to_dict,
)
from allegro_dist.simulate.settings import SimulationConfig, read_simulation

COMMITTEE = "committee"
"""What stands for the archives of a round in the simulations of a loop."""
FIXED = ("data", "members", "model", "training", "seed")
"""Keys that a loop keeps from its first round to its last; others may change, and act on what is not done yet."""

VARIANTS = ("retraining", "final")
"""Keys that say in what a later training differs from `training`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataSettings:
    """The frames that the loop begins with, and those that it is measured on."""

    start: str | tuple[str, ...]
    """Frames of the first round, in anything that ASE reads. Those without energy and forces are labelled first."""
    val: str | tuple[str, ...] | Fraction = 0.1
    """Validation frames: files, or the fraction of all frames that each member holds out, anew in each round."""
    test: str | tuple[str, ...] | None = None
    """Labelled frames on which each round's committee is measured; never trained on."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class HarvestSettings:
    """Which frames of the simulations are labelled."""

    threshold: Positive
    """Smallest deviation of the committee that makes a frame worth a label: of the atom on which the members differ
    most, eV/Angstrom."""
    ceiling: Positive
    """Deviation beyond which a frame is taken for garbage, eV/Angstrom; a simulation is stopped there."""
    per_round: Count = 20
    """Frames at most."""
    apart: NonNegative = 50.0
    """Shortest time between two chosen frames of a simulation, fs."""
    enough: Count = 1
    """The loop ends when a round finds fewer frames than this."""

    @model_validator(mode="after")
    def _check(self) -> HarvestSettings:
        if self.ceiling <= self.threshold:
            raise ValueError(f"ceiling must be above threshold = {self.threshold:g}, got {self.ceiling:g}")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LabelSettings:
    """Who computes energies, forces and stresses of the chosen frames, and which results are taken."""

    calculator: str
    """lammps, espresso, gpaw, tblite, xtb, emt, allegro (one of our archives), any other name that ASE knows, or
    module:Class of an ASE calculator."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Its keyword arguments. The calculator works in a folder of its own for each frame: paths are to be absolute, or
    names of `files`."""
    files: dict[str, str] = field(default_factory=dict)
    """Text files to write into that folder first: {name: content}."""
    energy_shift: dict[str, float] = field(default_factory=dict)
    """Added to its energies for each atom of an element, eV: {Si: 0.0019}; where the frames of `data.start` count
    theirs from another zero."""
    retries: Annotated[int, Field(ge=0)] = 1
    """How often a failed calculation is tried again."""
    retry_settings: dict[str, Any] = field(default_factory=dict)
    """Changes of `settings` for these trials, such as a smaller mixing."""
    max_minutes: Positive | None = None
    """Time after which a calculation has failed."""
    max_force: Positive = 50.0
    """A label with a longer force on an atom is refused, eV/Angstrom."""
    max_failed: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a round's labels that may fail or be refused; beyond it the loop stops."""
    mode: Literal["processes", "array"] = "processes"
    """Label here, in several processes, or by a job array: `allegro-dist learn label CONFIG --index I`."""
    processes: Count = 1
    """Calculations at once (mode processes)."""
    chunk: Count = 1
    """Frames that a process labels, one after another: more for calculators that take less time than to start Python
    (mode processes)."""
    submit: str | None = None
    """Command that labels some frames and returns when that is done, such as `sbatch --wait --array={indices} label.sh`
    ({indices}: 0-3,7; {first}, {last}: 0, 7); null: the loop says which are to be labelled, and ends (mode array)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LaunchSettings:
    """What stands before the commands of a round, such as `mpiexec -n 4` or `srun -n 4`."""

    train: str = ""
    """Before `allegro-dist train`, whose members are shared out over the processes."""
    simulate: str = ""
    """Before `allegro-dist simulate`."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LearningConfig:
    """The whole of a learning loop."""

    data: DataSettings
    simulations: tuple[SimulationConfig, ...]
    """What each round runs: settings of `allegro-dist simulate`, without model and dir. Seeds are counted on from round
    to round."""
    harvest: HarvestSettings
    label: LabelSettings
    dir: str = "learn"
    """Folder of everything; a loop found in it goes on."""
    max_rounds: Count = 10
    """Rounds of labels at most."""
    members: Annotated[int, Field(ge=2)] = 3
    """Models of the committee, which differ in their seeds."""
    model: ModelConfig = field(default_factory=AllegroConfig)
    """As in `allegro-dist train`."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Of the first round, as in `allegro-dist train`."""
    retraining: TrainingConfig | None = None
    """Of later rounds: keys that differ from `training`."""
    final: TrainingConfig | None = None
    """Of a last, longer training on all that was labelled: keys that differ from `training`; null: none."""
    start_from: Literal["previous", "scratch"] = "previous"
    """Weights of later trainings: each member goes on from its own of the round before, or begins anew."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the first member; the others count on."""
    launch: LaunchSettings = field(default_factory=LaunchSettings)

    @model_validator(mode="after")
    def _check(self) -> LearningConfig:
        if not self.simulations:
            raise ValueError("simulations: at least one is needed")
        return self

    def training_of(self, number: int) -> TrainingConfig:
        """That of a round, counted from 0."""
        return self.training if number == 0 or self.retraining is None else self.retraining


def read_learning(values: dict[str, Any], source: str) -> LearningConfig:
    """Check nested plain values; raises ConfigError that names each bad key, of simulations by their number."""
    simulations = values.get("simulations") or ()
    if not isinstance(simulations, (list, tuple)):
        raise ConfigError(f"{source}: 'simulations': expected a list, got {simulations!r}")
    read = [_read_simulation(entry, f"{source}: simulations.{number}") for number, entry in enumerate(simulations)]
    changes = {key: values[key] for key in VARIANTS if values.get(key) is not None}
    given = {key: value for key, value in values.items() if key not in VARIANTS} | {"simulations": tuple(read)}
    config: LearningConfig = from_dict(LearningConfig, given, source)
    variants: dict[str, Any] = {k: _variant(config.training, v, f"{source}: {k}") for k, v in changes.items()}
    return replace(config, **variants)


def differing_keys(config: LearningConfig, other: dict[str, Any]) -> list[str]:
    """The keys of FIXED in which a loop differs from another's plain values."""
    now = to_dict(config)
    return [key for key in FIXED if now[key] != other.get(key)]


def of_round(simulation: SimulationConfig, number: int, archives: tuple[str, ...], folder: str) -> SimulationConfig:
    """A simulation as it is run in a round: with its committee, seeds of its own, and no further than useful."""

    def counted_on(stage: Any) -> Any:
        return replace(stage, seed=stage.seed + SEEDS_PER_ROUND * number) if hasattr(stage, "seed") else stage

    return replace(
        simulation,
        model=archives,
        dir=folder,
        structure=replace(simulation.structure, seed=simulation.structure.seed + number),
        stages=tuple(counted_on(stage) for stage in simulation.stages),
    )


SEEDS_PER_ROUND = 10_000
"""Of a Langevin stage, which takes another one for each of its parts."""


def _variant(training: TrainingConfig, changes: Any, source: str) -> TrainingConfig:
    if not isinstance(changes, dict):
        raise ConfigError(f"{source}: expected keys of 'training' that differ, got {changes!r}")
    varied: TrainingConfig = from_dict(TrainingConfig, merged(to_dict(training), changes), source)
    return varied


def _read_simulation(values: Any, source: str) -> SimulationConfig:
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected keys and values, got {values!r}")
    own = {"dir": SimulationConfig.dir, "model": COMMITTEE}
    for key, value in own.items():
        if values.get(key, value) != value:
            raise ConfigError(f"{source}: '{key}' is that of the round: leave it out")
    return read_simulation({**values, **own}, source)
