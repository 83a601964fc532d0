"""Settings of training: the loss, the learning rate, what a breakdown leads to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from allegro_dist.config_values import STRICT, Count, Fraction, NonNegative, Positive


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
