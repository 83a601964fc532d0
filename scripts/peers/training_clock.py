"""A callback for nequip-train: so many minutes, compilation not counted, with a rate that follows the clock."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class TrainingClock(Callback):
    """Starts the clock after the first epoch and its validation, when all is compiled; until then the rate is tiny.

    Writes FOLDER/started then, and FOLDER/clock.json at the end: steps, minutes, and minutes of the CPU.

    Args:
        rate: the largest learning rate: reached after a share `warmup` of the minutes, lowered along half a cosine to a
            share `final` of it.
    """

    def __init__(self, minutes: float, rate: float, warmup: float, final: float, folder: str) -> None:
        self.minutes, self.rate, self.warmup, self.final = minutes, rate, warmup, final
        self.folder = Path(folder)
        self.start: float | None = None
        self.cpu_start, self.steps = 0.0, 0

    def share(self) -> float:
        """Of the minutes that is over."""
        return 0.0 if self.start is None else (time.monotonic() - self.start) / 60 / self.minutes

    def factor(self) -> float:
        share = min(self.share(), 1.0)
        if share < self.warmup:
            return max(share / self.warmup, 0.01)
        along = (share - self.warmup) / (1.0 - self.warmup)
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * along))

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate * self.factor()

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        self.steps += 1
        trainer.should_stop = self.share() >= 1.0

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.start is None:
            self.start, self.cpu_start, self.steps = time.monotonic(), time.process_time(), 0
            (self.folder / "started").touch()

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        facts = {
            "steps": self.steps,
            "minutes": self.share() * self.minutes,
            "cpu_minutes": (time.process_time() - self.cpu_start) / 60,
        }
        (self.folder / "clock.json").write_text(json.dumps(facts))
