"""A training that breaks down: noticed, and undone by going back to the best state at a lower learning rate.

At too high a rate, weights may leave what they have learnt within a few steps, after thousands that went well. Time
goes on: epochs, steps and the schedule are not set back, so that a run ends when it would have ended.
"""

from __future__ import annotations

import copy
import math
from typing import Any

from allegro_dist.config import RecoveryConfig


class DivergedError(RuntimeError):
    """Training broke down, more often than it may."""


class Recovery:
    """Judges how training goes, the same on all ranks since what it sees is, and keeps the state to go back to.

    `events` are the breakdowns so far, as results.json and checkpoints hold them; `untold` those in words that nobody
    has shown yet.
    """

    def __init__(self, config: RecoveryConfig) -> None:
        self.config = config
        self.events: list[dict[str, Any]] = []
        self.untold: list[str] = []
        self.good: dict[str, Any] = {}
        self.good_epoch = 0  # after which it was so; 0: the start
        self.jumps = 0  # validations in a row that are far beyond the best one

    @property
    def rate_factor(self) -> float:
        """Of the learning rate."""
        return self.config.factor ** len(self.events)

    def keep(self, epoch: int, learned: dict[str, Any]) -> None:
        """This is the state to go back to."""
        self.good, self.good_epoch, self.jumps = copy.deepcopy(learned), epoch, 0

    def judge(self, loss: float, best: float) -> str:
        """What is wrong with a validation, if anything; `best` is the lowest loss so far."""
        if not math.isfinite(loss):
            return "the validation loss is not finite"
        self.jumps = self.jumps + 1 if loss > self.config.jump * best else 0
        if self.jumps < self.config.patience:
            return ""
        return f"the validation loss is {loss:.3g}, {loss / best:.3g} times the best one"

    def go_back(self, epoch: int, step: int, reason: str, rate: float) -> dict[str, Any]:
        """The state to go back to, after a breakdown at an epoch and step.

        Args:
            rate: the largest learning rate now, for the message.

        Raises DivergedError when it was once too often.
        """
        where = f"training broke down in epoch {epoch}, step {step}: {reason}"
        if len(self.events) == self.config.max_times:
            raise DivergedError(
                f"{where}. It went back {len(self.events)} times before (training.recovery.max_times). Lower "
                f"training.learning_rate (now {rate:g}), or look for frames with atoms that nearly touch or with "
                "extreme labels"
            )
        self.events.append({"epoch": epoch, "step": step, "reason": reason, "back_to_epoch": self.good_epoch})
        self.jumps = 0
        back = f"epoch {self.good_epoch}" if self.good_epoch else "the start"
        self.untold.append(f"{where}; back to the weights of {back}, learning rate x {self.config.factor:g}")
        return copy.deepcopy(self.good)

    def tell(self) -> list[str]:
        """What is untold, once."""
        told, self.untold = self.untold, []
        return told

    def state(self) -> dict[str, Any]:
        return {"events": self.events, "good": self.good, "good_epoch": self.good_epoch, "jumps": self.jumps}

    def restore(self, state: dict[str, Any]) -> None:
        self.events, self.good = list(state["events"]), state["good"]
        self.good_epoch, self.jumps = state["good_epoch"], state["jumps"]
