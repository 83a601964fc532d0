"""Every setting of a run, as frozen dataclasses; YAML in, checked values out.

A configuration is data: it is read by name and never names an import path.  Unknown keys are refused with the nearest
known one suggested, values are checked where they are declared, and `dump` writes the complete configuration back, so
that a run folder always holds what was really used.
"""

from __future__ import annotations

import os
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from allegro_dist.config_training import LossConfig, RecoveryConfig, ScheduleConfig, TrainingConfig
from allegro_dist.config_values import (
    STRICT,
    ConfigError,
    Count,
    Fraction,
    NonNegative,
    Positive,
    dump,
    from_dict,
    merged,
    read_values,
    to_dict,
)

__all__ = [
    "STRICT",
    "AllegroConfig",
    "ConfigError",
    "Count",
    "DataConfig",
    "Fraction",
    "LossConfig",
    "ModelConfig",
    "NonNegative",
    "Positive",
    "RecoveryConfig",
    "RunConfig",
    "RunFolderConfig",
    "ScheduleConfig",
    "StartConfig",
    "TrainingConfig",
    "dump",
    "from_dict",
    "load",
    "merged",
    "read_values",
    "to_dict",
]


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


def load(path: str | os.PathLike[str], overrides: list[str] | None = None) -> RunConfig:
    """Read a YAML file, apply `key.sub=value` overrides, and check the result.

    Relative paths inside the file stay as they are: they are taken from the working directory, as in the shell.
    """
    config: RunConfig = from_dict(RunConfig, read_values(path, overrides), str(path))
    return config
