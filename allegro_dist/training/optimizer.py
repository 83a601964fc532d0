"""The optimizers of training.optimizer, each with the average of the weights that belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from allegro_dist.config import ConfigError, TrainingConfig
from allegro_dist.training.averaging import Average, MovingAverage, own_values_kept


def make_optimizer(parameters: Sequence[nn.Parameter], config: TrainingConfig) -> tuple[torch.optim.Optimizer, Average]:
    """Optimizer and average; raises ConfigError where the optimizer's package is not installed."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "schedule_free":
        try:
            from schedulefree import AdamWScheduleFree
        except ImportError:
            raise ConfigError("training.optimizer: schedule_free needs its package: pip install schedulefree") from None
        free = AdamWScheduleFree(parameters, lr=rate, weight_decay=decay)
        free.train()
        return free, ScheduleFreeAverage(parameters, free)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    average = MovingAverage(parameters, config.ema, config.mean_share)
    return kind(parameters, lr=rate, weight_decay=decay, fused=True), average


class ScheduleFreeAverage:
    """The average that a schedule-free optimizer keeps itself (Defazio et al., NeurIPS 2024)."""

    def __init__(self, parameters: Sequence[nn.Parameter], optimizer: Any) -> None:
        self.parameters: list[Tensor] = [*parameters]
        self.optimizer = optimizer

    def update(self, progress: float) -> None:
        """Nothing: the optimizer's step has done it."""

    @contextmanager
    def applied(self) -> Iterator[None]:
        # Going there and back would round twice, hence the copy.
        with own_values_kept(self.parameters):
            self.optimizer.eval()
            try:
                yield
            finally:
                self.optimizer.train()

    def state(self) -> dict[str, Any]:
        with self.applied():
            return {"ema": [p.detach().clone() for p in self.parameters]}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing: the optimizer's state has it."""
