"""Ranks: the processes of a run, which sum over one another and notice when one is lost."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from allegro_dist.training.launch import LaunchError, find_launch

BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class RankLostError(RuntimeError):
    """Another process of the run has ended; nothing can be summed over all any more."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> None:
        """Sum over ranks, in place; raises RankLostError when one is gone."""
        if self.size > 1:
            self._await(dist.all_reduce, tensor)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give all ranks the values of rank 0; raises RankLostError."""
        if self.size > 1:
            for tensor in tensors:
                self._await(dist.broadcast, tensor, 0)

    def barrier(self) -> None:
        """Wait for all ranks; raises RankLostError."""
        self.all_reduce(torch.zeros(1, device=self.device))

    def _await(self, operation: Callable[..., Any], *arguments: object) -> None:
        """An operation of all ranks, done when this returns: some back ends would only queue it, and fail later."""
        with self.together():
            operation(*arguments, async_op=True).wait()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside is what all ranks must take part in; raises RankLostError when one is gone."""
        try:
            yield
        except RuntimeError as error:  # the back end's, when a connection breaks: "[its source] what. Some advice."
            reason = str(error).splitlines()[0].split(". ")[0].rpartition("] ")[2]
            raise RankLostError(
                f"process {self.rank} of {self.size}: another process of this run has ended ({reason})"
            ) from error


def start_ranks(device: str = "auto", threads: int = 1, timeout: datetime.timedelta | None = None) -> Ranks:
    """Join the processes of this run (gloo on CPU, nccl on GPU) and set torch's threads; see stop_ranks.

    Args:
        timeout: how long a process waits for the others (torch's default).

    Raises LaunchError for a device that isn't there, or when processes that were started together don't meet.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise LaunchError("training.device: cuda, but torch finds no CUDA device")
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    launch = find_launch()
    if cuda:
        torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    if launch.size > 1 and not dist.is_initialized():
        backend = BACKENDS["cuda" if cuda else "cpu"]
        # Else nccl ends the program, without a checkpoint, when a rank is lost; now waiting for an operation fails.
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")
        if launch.store is None:
            dist.init_process_group(backend, timeout=timeout)
        else:
            dist.init_process_group(
                backend, store=launch.store, rank=launch.rank, world_size=launch.size, timeout=timeout
            )
    torch.set_num_threads(threads)
    chosen = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
    return Ranks(launch.rank, launch.size, launch.local_rank, chosen)


def alone(ranks: Ranks) -> Ranks:
    """This process as the only one of a run, on its device."""
    return replace(ranks, rank=0, size=1)


def gather(ranks: Ranks, value: Any) -> list[Any]:
    """The values of all ranks, on every rank, once all have come here."""
    values = [value] * ranks.size
    if ranks.size > 1:
        with ranks.together():
            dist.all_gather_object(values, value)
    return values


def stop_ranks() -> None:
    """Leave the group that start_ranks joined."""
    if dist.is_initialized():
        dist.destroy_process_group()
