"""Every setting of a run, as frozen dataclasses; YAML in, checked values out.

A configuration is data: it is read by name and never names an import path.  Unknown keys are refused with the nearest
known one suggested, values are checked where they are declared, and `dump` writes the complete configuration back, so
that a run folder always holds what was really used.
"""

from __future__ import annotations

import os
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from allegro_dist.config_errors import explain
from allegro_dist.files import write_atomically

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]


class ConfigError(ValueError):
    """A configuration that can't be used; the message names the key, what was expected and what came."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class AllegroConfig:
    """The Allegro model (Musaelian et al. 2023, revised form of 2025); defaults suit a few hundred DFT frames."""

    family: Literal["allegro", "allegro-2022"] = "allegro"
    """Kind of model; allegro-2022 is the form of the paper, several times slower to train and in LAMMPS."""
    type_names: tuple[str, ...] | None = None
    """Chemical symbols of the model types, in order; found from the training data when not given."""
    r_max: Positive = 5.0
    """Cutoff radius, Angstrom."""
    pair_cutoffs: dict[str, Positive] = Field(default_factory=dict)
    """Smaller cutoffs (Angstrom) for ordered type pairs, "center-neighbor": {"H-H": 3.0}."""
    l_max: Annotated[int, Field(ge=0, le=4)] = 2
    """Highest order of the spherical harmonics."""
    parity: bool = True
    """true: all irreps of O(3) in the tensor track; false: only those of the spherical harmonics."""
    num_layers: Annotated[int, Field(ge=1, le=6)] = 2
    """Tensor products, each followed by an MLP of the latents."""
    num_scalar_features: Count = 64
    """Channels of the latents."""
    num_tensor_features: Count = 32
    """Channels of the tensor track."""
    radial_basis: Literal["bessel", "spline"] = "bessel"
    """Functions of the edge length that everything is built on."""
    num_radial: Count = 8
    """Number of Bessel functions, or of splines per type pair."""
    bessel_trainable: bool = False
    """Let training change the wavenumbers (Bessel basis only)."""
    spline_span: Count = 6
    """Number of splines that overlap at a point (spline basis only)."""
    envelope_power: Annotated[int, Field(ge=2, le=20)] = 6
    """Exponent p of the polynomial envelope (Bessel basis only)."""
    num_embedding_features: Count | None = None
    """Width of the embedding of type pair and distance, before the two-body MLP; null: num_scalar_features."""
    two_body_mlp_depth: Annotated[int, Field(ge=0)] = 1
    """Hidden layers of the MLP behind the radial functions; 0: a linear map."""
    two_body_mlp_width: Count = 64
    """Width of its hidden layers."""
    latent_mlp_depth: Annotated[int, Field(ge=0)] = 1
    """Hidden layers of the MLP that makes the latents of a layer."""
    latent_mlp_width: Count = 64
    """Width of its hidden layers."""
    readout_mlp_depth: Annotated[int, Field(ge=0)] = 1
    """Hidden layers of the MLP from the latents of all layers to the energy of an edge."""
    readout_mlp_width: Count = 32
    """Width of its hidden layers."""
    path_channel_coupling: bool = True
    """true: a weight for each path and channel; false: one for each path."""
    avg_num_neighbors: Positive | dict[str, Positive] | Literal["auto", "per_type"] = "auto"
    """Normalization of neighbor sums: mean of the training set, its mean per center type, or given values."""
    per_type_scale: Positive | dict[str, Positive] | Literal["force_rms"] = "force_rms"
    """Energy scale of a type, eV: root mean square of the training forces x 1 Angstrom, or given values."""
    per_type_shift: float | dict[str, float] | Literal["least_squares", "isolated_atoms"] = "least_squares"
    """Energy of an atom without neighbors, eV: fitted to the training energies, the isolated atoms' energies of the
    data plus the mean of what is left per atom, or given values."""
    train_scale_shift: bool = False
    """Let training change the scales and shifts."""
    zbl: bool = False
    """Add the Ziegler-Biersack-Littmark core repulsion between all pairs."""
    zbl_envelope_power: Annotated[int, Field(ge=2, le=20)] | None = None
    """Exponent p of the polynomial that brings the core repulsion to zero at the cutoff; null: envelope_power."""
    dtype: Literal["float32", "float64"] = "float32"
    """Precision of weights and edges; energies are summed in float64."""

    @model_validator(mode="after")
    def _check(self) -> AllegroConfig:
        if self.family == "allegro-2022":
            for key, only in (
                ("radial_basis", "bessel"),
                ("path_channel_coupling", True),
                ("num_embedding_features", None),
            ):
                if getattr(self, key) != only:
                    raise ValueError(f"family allegro-2022 has no {key} = {getattr(self, key)}")
        elif self.radial_basis == "bessel" and self.embedding_width % 2:
            name = "num_scalar_features" if self.num_embedding_features is None else "num_embedding_features"
            raise ValueError(f"{name} must be even for the type embedding, got {self.embedding_width}")
        if self.radial_basis == "spline" and self.spline_span > self.num_radial:
            raise ValueError(f"spline_span must not exceed num_radial = {self.num_radial}, got {self.spline_span}")
        for pair, cutoff in self.pair_cutoffs.items():
            if len(pair.split("-")) != 2:
                raise ValueError(f"pair_cutoffs: keys are 'center-neighbor', got '{pair}'")
            if cutoff > self.r_max:
                raise ValueError(f"pair_cutoffs: {pair} = {cutoff} exceeds r_max = {self.r_max}")
        return self

    @property
    def embedding_width(self) -> int:
        return self.num_embedding_features or self.num_scalar_features

    @property
    def repulsion_power(self) -> int:
        return self.zbl_envelope_power or self.envelope_power


ModelConfig = AllegroConfig
"""The union of the families' configurations; Allegro is the first."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DataConfig:
    """Where frames come from: anything that ASE reads (energy eV, forces eV/Angstrom, stress eV/Angstrom^3)."""

    train: str | tuple[str, ...]
    """File or files of training frames, or a set on disk (`allegro-dist dataset build`): set.h5, or one of its parts,
    set.h5@train. The same goes for val and test."""
    val: str | tuple[str, ...] | Fraction = 0.1
    """Validation frames: files, or the fraction of the training frames to hold out."""
    test: str | tuple[str, ...] | None = None
    """Frames to measure the best model on, at the end."""
    isolated_atoms: str | None = None
    """File with one single-atom frame per element (for per_type_shift: isolated_atoms)."""
    max_frames: Count | None = None
    """Use only so many training frames (validation included), drawn by the seed."""
    allow_missing_forces: bool = False
    """Let training frames without forces teach their energies only; false: refuse them."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LossConfig:
    """Weights of the mean squared errors: energy per atom (eV), force component (eV/A), stress component (eV/A^3)."""

    energy: NonNegative = 1.0
    """Weight of the energy per atom."""
    forces: NonNegative = 1.0
    """Weight of the forces."""
    stress: NonNegative = 0.0
    """Weight of the stress; with 0 it is not computed."""
    final_energy: NonNegative | None = None
    """Weight of the energy over the last part of the run, when the learning rate is low; null: as before. Forces teach
    the shape first; energies, of which there are few, are fitted best at the end."""
    final_forces: NonNegative | None = None
    """Weight of the forces over that part."""
    final_stress: NonNegative | None = None
    """Weight of the stress over that part."""
    final_share: Fraction = 0.3
    """That last part, as a share of the run."""
    transition: Literal["step", "linear"] = "step"
    """How weights go to their final ones: at once when that part begins, or evenly until the run's end."""

    def weighs(self, quantity: Literal["forces", "stress"]) -> bool:
        """Whether the quantity has a weight at some time of the run."""
        return bool(getattr(self, quantity) or getattr(self, f"final_{quantity}"))


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScheduleConfig:
    """Learning rate over the run."""

    name: Literal["cosine", "plateau", "constant"] = "cosine"
    """Shape behind the warm-up: half a cosine, steps down when the validation loss stays, or level."""
    unit: Literal["auto", "epochs", "minutes"] = "auto"
    """What cosine and warm-up count: a share of max_epochs or of max_minutes; auto takes whichever is further on."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Share of the run over which the rate rises linearly from zero."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Cosine: the rate at the end, as a share of the first."""
    factor: Fraction = 0.8
    """Plateau: multiply the rate by this when the validation loss has not fallen for `patience` epochs."""
    patience: Count = 25
    """Plateau: epochs to wait for a lower validation loss."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RecoveryConfig:
    """What happens when training breaks down: it goes back to its best state, at a lower rate."""

    max_times: Annotated[int, Field(ge=0)] = 3
    """Breakdowns survived; the next ends the run (0: the first)."""
    factor: Fraction = 0.5
    """Multiplies the learning rate from then on, at every breakdown."""
    jump: Annotated[float, Field(gt=1)] = 10.0
    """A validation loss above so many times the best one is a sign of it."""
    patience: Count = 3
    """Such validations in a row make a breakdown. One that is not finite does at once, and so do ten steps in a row
    with gradients that are not finite."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingConfig:
    """How the weights are found."""

    max_epochs: Count = 1000
    """Passes over the training frames."""
    max_minutes: Positive | None = None
    """Wall time after which training stops as if the epochs were done."""
    batch_size: Count = 5
    """Frames per step, over all ranks."""
    accumulate: Count = 1
    """Passes in which each rank goes through its frames of a step: more take less memory, for the same gradient to
    rounding."""
    optimizer: Literal["adam", "adamw", "schedule_free"] = "adam"
    """adamw: weight decay apart from the gradient; schedule_free: AdamW that averages the weights itself instead of
    lowering the rate (package schedulefree; schedule.name: constant; ema and mean_share do not act)."""
    learning_rate: Positive = 4e-3
    """Largest step of a weight; the schedule multiplies it."""
    rates: Literal["equal", "relative"] = "equal"
    """relative: a weight's step is the rate times the size that its tensor had at the start (root mean square, at most
    1), so that all parts of the model change alike; then learning_rate wants to be about ten times as high."""
    weight_decay: NonNegative = 0.0
    """Adds so much of the weights to the gradient (adam), or to the step (adamw)."""
    clip_gradient: Positive | None = 10.0
    """Largest norm of the gradient; null: no clipping."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay per step of the running average of the weights, which is what is validated and deployed; 0: off."""
    mean_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Last part of the run, as its share, over which that average is the plain mean of the weights (SWA); for rates
    that stay high (schedule.final)."""
    early_stopping: Count | None = None
    """Stop when the validation loss has not fallen for so many epochs."""
    validate_every: Count = 1
    """Epochs between validations."""
    checkpoint_every: Count = 10
    """Epochs between checkpoints of the complete state (one is also written at the end and on SIGTERM)."""
    loss: LossConfig = Field(default_factory=LossConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    recovery: RecoveryConfig = Field(default_factory=RecoveryConfig)
    step: Literal["auto", "fused", "eager"] = "auto"
    """How energies, forces and the derivatives of the loss are computed: by the compiled training step (Allegro models
    on CPUs, several times faster), or by torch's operations, anywhere. The same numbers to rounding; auto takes the
    fused step where it can."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto: on a GPU where torch finds one."""
    threads: Count = 1
    """CPU threads per process. They share the centers of a batch in the fused step; torch's many small operations they
    hardly speed up, and on a busy machine waiting for one another costs dearly. More processes use more cores better
    (mpirun -n 2 allegro-dist ...)."""

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.schedule.unit == "minutes" and self.max_minutes is None:
            raise ValueError("schedule.unit: minutes needs max_minutes")
        if self.optimizer == "schedule_free" and self.schedule.name != "constant":
            raise ValueError(f"optimizer: schedule_free needs schedule.name: constant, not {self.schedule.name}")
        if self.optimizer == "schedule_free" and self.rates != "equal":
            raise ValueError(f"optimizer: schedule_free needs rates: equal, not {self.rates}")
        if self.loss.energy == self.loss.forces == self.loss.stress == 0:
            raise ValueError("loss: at least one weight must be above 0")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StartConfig:
    """Where the first weights come from: random numbers, or a trained potential (fine-tuning)."""

    model: str | None = None
    """Run folder or archive to start from; for a committee (--members) also the folder of one, whose members are then
    started from each by its own. Its settings hold for the keys of model that are not given; types that only
    the data have are added, with weights drawn by the seed."""
    weights: Literal["best", "last"] = "best"
    """Averaged weights of which epoch, where it is a run folder."""
    freeze: tuple[str, ...] = ()
    """Parts that keep their weights, as names or shell patterns: embedding, two_body, latents.0, "products.*"; an
    unknown one is answered with all names."""
    refit_shifts: bool = False
    """Fit the shifts of all types to the training energies first (those of new types always are): for data whose
    energies have another zero."""
    refit_scale: bool = False
    """Multiply all scales by the factor that fits the training forces best, first."""

    @model_validator(mode="after")
    def _check(self) -> StartConfig:
        given = [name for name in ("freeze", "refit_shifts", "refit_scale") if getattr(self, name)]
        if given and self.model is None:
            raise ValueError(f"{', '.join(given)}: needs start.model")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunFolderConfig:
    """Where the run is kept."""

    dir: str = "run"
    """Folder for checkpoints, metrics and plots; a run found in it is resumed."""
    tensorboard: bool = False
    """Write the errors of every validation for TensorBoard, too (folder tensorboard; needs that package)."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """The whole of a training run."""

    data: DataConfig
    model: ModelConfig = Field(default_factory=AllegroConfig)
    start: StartConfig = Field(default_factory=StartConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    run: RunFolderConfig = Field(default_factory=RunFolderConfig)
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the first weights, the order of the frames, and the frames that data.val and data.max_frames draw."""


# --- reading and writing -----------------------------------------------------------------------------------------


def from_dict(cls: type, values: dict[str, Any], source: str = "configuration") -> Any:
    """Build the dataclass `cls` from nested plain values; raises ConfigError that names each bad key."""
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        lines = [explain(cls, e) for e in error.errors(include_url=False)]
        raise ConfigError(f"{source}: " + "; ".join(dict.fromkeys(lines))) from None


def to_dict(config: Any) -> dict[str, Any]:
    """Plain nested values (lists for tuples), ready for YAML or JSON."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def load(path: str | os.PathLike[str], overrides: list[str] | None = None) -> RunConfig:
    """Read a YAML file, apply `key.sub=value` overrides, and check the result.

    Relative paths inside the file stay as they are: they are taken from the working directory, as in the shell.
    """
    config: RunConfig = from_dict(RunConfig, read_values(path, overrides), str(path))
    return config


def read_values(path: str | os.PathLike[str] | None, overrides: list[str] | None = None) -> dict[str, Any]:
    """The values of a YAML file (of none: no values) under `key.sub=value` overrides, not yet checked."""
    values = {} if path is None else _read_mapping(Path(path))
    for item in overrides or []:
        _override(values, item)
    return values


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested values under nested changes."""
    result = dict(values)
    for key, change in changes.items():
        before = result.get(key)
        result[key] = merged(before, change) if isinstance(before, dict) and isinstance(change, dict) else change
    return result


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    return values


def dump(config: Any, path: str | os.PathLike[str]) -> None:
    """Write the complete configuration as YAML."""
    write_atomically(Path(path), yaml.safe_dump(to_dict(config), sort_keys=False))


def _override(values: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{item}': expected key=value, for example training.max_epochs=100")
    *parents, last = key.split(".")
    node: Any = values
    for name in parents:
        place = _place(node, name, item)
        # A copy, because an anchor of YAML puts one object in several places, of which this one is meant.
        node[place] = copy(node[place] if isinstance(node, list) else node.get(place, {}))
        node = node[place]
        if not isinstance(node, (dict, list)):
            raise ConfigError(f"override '{item}': '{name}' is a value, not a section")
    node[_place(node, last, item)] = yaml.safe_load(text)


def _place(entries: dict[str, Any] | list[Any], name: str, item: str) -> Any:
    """A key, or the number of an entry of a list, counted from 0."""
    if isinstance(entries, dict):
        return name
    if not name.isdecimal() or int(name) >= len(entries):
        raise ConfigError(f"override '{item}': '{name}' is not one of the list's {len(entries)} entries, from 0")
    return int(name)
