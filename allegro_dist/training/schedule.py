"""Learning rate over a run, as a factor of its first value."""

from __future__ import annotations

import math
from typing import Any

from allegro_dist.config import ScheduleConfig, TrainingConfig


def run_progress(config: TrainingConfig, epochs: float, minutes: float) -> float:
    """How much of the run is done, 0 to 1, by the clock that training.schedule.unit names."""
    by_epochs = epochs / config.max_epochs
    by_minutes = minutes / config.max_minutes if config.max_minutes else 0.0
    done = {"epochs": by_epochs, "minutes": by_minutes, "auto": max(by_epochs, by_minutes)}[config.schedule.unit]
    return min(done, 1.0)


class Schedule:
    """Linear warm-up, then a half cosine down to `final`, steps down on plateaus, or nothing."""

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        self.plateau_factor = 1.0
        self.lowest = math.inf
        self.epochs_since = 0

    def factor(self, progress: float) -> float:
        """The factor when a share `progress` of the run is done."""
        warmup = self.config.warmup
        if progress < warmup:
            # Not from zero itself: the first step would do nothing.
            return max(progress, 0.01 * warmup) / warmup * self.plateau_factor
        if self.config.name == "cosine":
            along = (progress - warmup) / (1.0 - warmup)
            return self.config.final + (1.0 - self.config.final) * 0.5 * (1.0 + math.cos(math.pi * along))
        return self.plateau_factor

    def end_epoch(self, validation_loss: float) -> None:
        """Let a plateau schedule see the validation loss."""
        if validation_loss < self.lowest:
            self.lowest, self.epochs_since = validation_loss, 0
            return
        self.epochs_since += 1
        if self.config.name == "plateau" and self.epochs_since >= self.config.patience:
            self.plateau_factor *= self.config.factor
            self.epochs_since = 0

    def state(self) -> dict[str, Any]:
        return {"plateau_factor": self.plateau_factor, "lowest": self.lowest, "epochs_since": self.epochs_since}

    def restore(self, state: dict[str, Any]) -> None:
        self.plateau_factor = state["plateau_factor"]
        self.lowest = state["lowest"]
        self.epochs_since = state["epochs_since"]
