"""Averages of the weights over the steps, which are what is validated and deployed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor


class Average(Protocol):
    """Some average of weights that are changed in place."""

    def update(self, progress: float) -> None:
        """Take in the present weights; a share `progress` of the run is done."""

    def applied(self) -> AbstractContextManager[None]:
        """Inside, the parameters hold the average; afterwards their own values again, to the bit."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: the averages, as "ema", and what `restore` needs."""

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state."""


class MovingAverage:
    """Exponential moving average, and over the last part of the run, if asked for, the plain mean (SWA).

    average <- average + (1 - d) (weights - average), with d = min(decay, (1 + n) / (10 + n)) at update n: the smaller
    decay of the first updates lets the average forget the random start.  In the last part d = m / (m + 1) at its
    update m (Izmailov et al., UAI 2018).

    Args:
        mean_share: that last part, as a share of the run.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float, mean_share: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.decay, self.mean_share = decay, mean_share
        self.num_updates = self.num_in_mean = 0
        self.averages = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self, progress: float = 0.0) -> None:
        if progress > 1.0 - self.mean_share:
            decay = self.num_in_mean / (self.num_in_mean + 1)
            self.num_in_mean += 1
        else:
            decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        torch._foreach_lerp_(self.averages, self.parameters, 1.0 - decay)
        self.num_updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        with own_values_kept(self.parameters):
            with torch.no_grad():
                torch._foreach_copy_(self.parameters, self.averages)
            yield

    def state(self) -> dict[str, Any]:
        return {"ema": self.averages, "ema_updates": self.num_updates, "mean_updates": self.num_in_mean}

    def restore(self, state: dict[str, Any]) -> None:
        for average, saved in zip(self.averages, state["ema"], strict=True):
            average.copy_(saved)
        self.num_updates, self.num_in_mean = state["ema_updates"], state.get("mean_updates", 0)


@contextmanager
def own_values_kept(parameters: list[Tensor]) -> Iterator[None]:
    """Whatever is written into the parameters inside, afterwards they hold their values of before, to the bit."""
    own = [p.detach().clone() for p in parameters]
    try:
        yield  # with gradients: edge gradients are some
    finally:
        with torch.no_grad():
            torch._foreach_copy_(parameters, own)
