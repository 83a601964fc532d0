"""The training loop: steps, epochs, validation, and the state that a checkpoint holds."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from allegro_dist.config import TrainingConfig
from allegro_dist.data.frames import Graphs
from allegro_dist.data.graph import Batch
from allegro_dist.potential import Potential
from allegro_dist.training.distributed import Ranks, alone
from allegro_dist.training.evaluate import EvaluationBatches, error_sums
from allegro_dist.training.flat import FlatParameters
from allegro_dist.training.fused_step import make_evaluator
from allegro_dist.training.loss import batch_loss, loss_weights
from allegro_dist.training.metrics import ErrorSums
from allegro_dist.training.optimizer import make_optimizer
from allegro_dist.training.prediction import Errors, errors_of, predict
from allegro_dist.training.recovery import Recovery
from allegro_dist.training.relative import RelativeSteps
from allegro_dist.training.sampler import balanced_shares, epoch_batches
from allegro_dist.training.schedule import Schedule, run_progress

MAX_REFUSED = 10
"""Consecutive steps with gradients that are not finite, which are a breakdown."""


class Best:
    """The epoch with the lowest validation loss, and its averaged weights."""

    def __init__(self) -> None:
        self.epoch = 0
        self.loss = math.inf
        self.weights: dict[str, torch.Tensor] = {}
        self.errors: dict[str, Any] = {}


class Trainer:
    """A potential on its way through the epochs; every rank has one and all hold the same weights.

    `epoch` is the number of complete epochs, `position` the number of batches done of the next.
    """

    def __init__(self, potential: Potential, train: Graphs, val: Graphs, config: TrainingConfig,
                 seed: int, ranks: Ranks) -> None:  # fmt: skip
        self.config, self.seed, self.ranks = config, seed, ranks
        self.potential = potential.to(ranks.device)
        self.evaluator = make_evaluator(potential, config.step, ranks.device, config.threads)
        self.train_graphs, self.costs, self.counts = train, train.num_edges, train.label_counts
        mine = balanced_shares(range(len(val)), val.num_edges.tolist(), ranks.size)[ranks.rank]
        self.val_batches = EvaluationBatches(val, ranks.device, mine)
        self.with_stress = config.loss.weighs("stress")

        trainable = {name: p for name, p in potential.named_parameters() if p.requires_grad}
        self.num_weights = sum(p.numel() for p in trainable.values())
        self.flat = FlatParameters(list(trainable.values()), num_riders=2)
        ranks.broadcast([flat.data for flat in self.flat.flats])
        self.optimizer, self.average = make_optimizer(self.flat.flats, config)
        self.relative = RelativeSteps(self.optimizer, self.flat.sizes()) if config.rates == "relative" else None
        self.schedule = Schedule(config.schedule)
        self.train_errors = self._new_sums()
        self.best = Best()
        self.recovery = Recovery(config.recovery)
        self.recovery.keep(0, self._learned())

        self.epoch = self.position = self.num_steps = 0
        self.num_refused = self.refused_in_a_row = 0
        self.earlier_minutes = 0.0
        self.clock = time.monotonic()
        self.minutes = 0.0  # as all ranks know it: rank 0's clock at the last step
        self.num_batches = -(-len(train) // config.batch_size)
        self.learning_rate = 0.0
        self.stop_signal = 0

    # --- one step ----------------------------------------------------------------------------------------------------

    def step(self, indices: list[int]) -> bool:
        """One step on a global batch; False when a rank was told to stop."""
        progress = self.progress()
        self.learning_rate = self.config.learning_rate * self.schedule.factor(progress) * self.recovery.rate_factor
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.flat.zero_gradients()
        # Divided by the counts of the global batch: gradients of ranks add up to that of one process.
        coefficients = (loss_weights(self.config.loss, progress) / self.counts[indices].sum(0).clamp(min=1)).tolist()
        passes = [self._differentiate(frames, coefficients) for frames in self._passes(indices)]
        # A stop signal on any rank, and rank 0's clock, ride along: all ranks act on the same values.
        riders = [float(self.stop_signal > 0), self._clock_minutes() if self.ranks.is_main else 0.0]
        stop, self.minutes = self.flat.reduce(self.ranks, riders)
        norm = self.flat.clip(self.config.clip_gradient)
        # The norm is that of the summed gradient, so all ranks refuse together.
        if math.isfinite(norm):
            self.optimizer.step()
            self.average.update(progress)
            self.refused_in_a_row = 0
            for errors, batch in passes:
                self.train_errors.add(errors, batch)
        else:
            self.num_refused += 1
            self.refused_in_a_row += 1
        self.num_steps += 1
        self.position += 1
        if self.refused_in_a_row == MAX_REFUSED:
            what = "steps in a row had gradients that are not finite, the last with training frames"
            self._recover(f"{MAX_REFUSED} {what} {indices}")
        return not stop

    def _share(self, indices: list[int]) -> list[int]:
        """The frames of a global batch that this rank takes; may be none."""
        return balanced_shares(indices, self.costs[indices].tolist(), self.ranks.size)[self.ranks.rank]

    def _passes(self, indices: list[int]) -> list[list[int]]:
        """The same, in the passes in which it takes them."""
        mine = self._share(indices)
        return [part for part in balanced_shares(mine, self.costs[mine].tolist(), self.config.accumulate) if part]

    def _differentiate(self, frames: list[int], coefficients: list[float]) -> tuple[Errors, Batch]:
        """Add the loss's gradient over some frames to the gradients."""
        batch = self.train_graphs.batch(frames).to(self.ranks.device)
        errors = errors_of(predict(self.evaluator, batch, stress=self.with_stress), batch)
        batch_loss(errors, batch, coefficients).backward()
        return errors.detached(), batch

    def _recover(self, reason: str) -> None:
        """Go back to the best state, at a lower rate; raises DivergedError."""
        rate = self.config.learning_rate * self.recovery.rate_factor
        self._take(self.recovery.go_back(self._present_epoch(), self.num_steps, reason, rate))
        self.refused_in_a_row = 0

    def _present_epoch(self) -> int:
        """The epoch under way, counted from 1."""
        return self.epoch + (self.position > 0)

    # --- epochs ------------------------------------------------------------------------------------------------------

    def run_epoch(self) -> Iterator[bool]:
        """The rest of the present epoch, step by step; yields False, and ends, when told to stop."""
        self.potential.train()
        size = len(self.train_graphs), self.config.batch_size
        batches = epoch_batches(*size, self.seed, self.epoch, first=self.position)
        following = next(batches, None)
        while following is not None:
            indices, following = following, next(batches, None)
            if following is not None:
                self.train_graphs.expect(self._share(following))
            go_on = self.step(indices)
            yield go_on
            if not go_on or self.out_of_time():
                return

    def validate(self) -> dict[str, Any]:
        """Validate the averaged weights, remember them if they are the best; returns the line for metrics.jsonl.

        Goes back where they show that training broke down; raises DivergedError.
        """
        self.potential.eval()
        with self.average.applied():
            sums = error_sums(self.evaluator, self.val_batches, self.train_errors.type_names, self.ranks.device).reduce(
                self.ranks
            )
        trained = self.train_errors.reduce(self.ranks)
        # All that ranks do together is done: where one is lost, the state is still that of the last step.
        loss = sums.loss(self.config.loss)
        self.schedule.end_epoch(loss)
        number = self._present_epoch()
        if breakdown := self.recovery.judge(loss, self.best.loss):
            self._recover(breakdown)
        elif loss < self.best.loss:
            self.best.epoch, self.best.loss, self.best.errors = number, loss, sums.result()
            with self.average.applied():
                self.best.weights = self._weights()
            self.recovery.keep(number, self._learned())
        return {
            "epoch": number,
            "step": self.num_steps,
            "lr": self.learning_rate,
            "minutes": self.minutes,
            "train": {"loss": trained.loss(self.config.loss), **trained.result()},
            "val": {"loss": loss, **sums.result()},
            "refused_steps": self.num_refused,
            "recoveries": len(self.recovery.events),
        }

    def end_epoch(self) -> None:
        """Turn to the next epoch."""
        self.epoch, self.position = self.epoch + 1, 0
        self.train_errors = self._new_sums()

    def validation_due(self) -> bool:
        """Whether the epoch just done is one to validate after."""
        number = self.epoch + 1
        last = number >= self.config.max_epochs or self.position < self.num_batches
        return last or number % self.config.validate_every == 0

    def finished(self) -> str:
        """Why training is over, or nothing."""
        if self.epoch >= self.config.max_epochs:
            return f"{self.config.max_epochs} epochs done"
        if self.out_of_time():
            return f"{self.config.max_minutes} minutes are over"
        patience = self.config.early_stopping
        if patience is not None and self.best.epoch and self.epoch - self.best.epoch >= patience:
            return f"the validation loss has not fallen for {patience} epochs"
        return ""

    def out_of_time(self) -> bool:
        return self.config.max_minutes is not None and self.minutes >= self.config.max_minutes

    def progress(self) -> float:
        """Share of the run that is done."""
        return run_progress(self.config, self.epoch + self.position / self.num_batches, self.minutes)

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Inside, SIGTERM and SIGINT let the running step finish and then stop all ranks."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {s: signal.signal(s, self._note_signal) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note_signal(self, number: int, frame: object) -> None:
        self.stop_signal = number

    def _clock_minutes(self) -> float:
        return self.earlier_minutes + (time.monotonic() - self.clock) / 60.0

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.potential.state_dict().items()}

    def _learned(self) -> dict[str, Any]:
        """What steps have made of the weights; still theirs to change."""
        return {"weights": self._weights(), **self.average.state(), "optimizer": self.optimizer.state_dict()}

    def _take(self, learned: dict[str, Any]) -> None:
        """Have these weights from now on, with averages and moments of their own."""
        self.potential.load_state_dict(learned["weights"])
        self.average.restore(learned)
        self.optimizer.load_state_dict(learned["optimizer"])

    def _new_sums(self) -> ErrorSums:
        return ErrorSums(self.potential.parameters_used.type_names, self.ranks.device)

    # --- state -------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on to the bit."""
        return {
            **self._learned(),
            "relative": self.relative and self.relative.state(),
            "schedule": self.schedule.state(),
            "recovery": self.recovery.state(),
            "train_errors": self.train_errors.reduce(self.ranks).sums,
            "best": vars(self.best),
            "rng": torch.get_rng_state(),
            "epoch": self.epoch,
            "position": self.position,
            "num_steps": self.num_steps,
            "num_refused": self.num_refused,
            "refused_in_a_row": self.refused_in_a_row,
            "minutes": self._clock_minutes(),
            "learning_rate": self.learning_rate,
        }

    def go_alone(self) -> None:
        """Act for all ranks from now on: another one is lost.

        The state is whole, but for the errors of this epoch's training frames that other ranks took.
        """
        self.ranks = alone(self.ranks)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._take(state)
        if self.relative:  # a fine-tuned run that goes on no longer has its first weights
            self.relative.restore(state["relative"])
        if "recovery" in state:
            self.recovery.restore(state["recovery"])
        else:  # a checkpoint from before there was any
            self.recovery.keep(state["epoch"], self._learned())
        self.schedule.restore(state["schedule"])
        if self.ranks.is_main:  # the saved sums are those of all ranks
            self.train_errors.sums.copy_(state["train_errors"])
        vars(self.best).update(state["best"])
        torch.set_rng_state(state["rng"])
        for name in ("epoch", "position", "num_steps", "num_refused", "refused_in_a_row", "minutes", "learning_rate"):
            setattr(self, name, state[name])
        self.earlier_minutes, self.clock = self.minutes, time.monotonic()
