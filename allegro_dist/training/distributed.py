"""Ranks: one process, torchrun's environment, or mpirun with mpi4py finding rank and master."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_NTASKS")


class LaunchError(RuntimeError):
    """The processes of a run can't find each other or their device."""


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> None:
        """Sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Give all ranks the values of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def start_ranks(device: str = "auto", threads: int = 1, timeout: datetime.timedelta | None = None) -> Ranks:
    """Join the processes of this run (gloo on CPU, nccl on GPU) and set torch's threads; see stop_ranks.

    Args:
        timeout: how long a process waits for the others (torch's default).

    Raises LaunchError for a device that isn't there, or when mpirun started several processes without mpi4py.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise LaunchError("training.device: cuda, but torch finds no CUDA device")
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank, local_size = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        store = None
    else:
        rank, size, local_rank, local_size, store = _join_mpi()
    if cuda:
        torch.cuda.set_device(local_rank % torch.cuda.device_count())
    if size > 1 and not dist.is_initialized():
        backend = "nccl" if cuda else "gloo"
        if store is None:
            dist.init_process_group(backend, timeout=timeout)
        else:
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    torch.set_num_threads(threads)
    return Ranks(
        rank,
        size,
        local_rank,
        local_size,
        torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu"),
    )


def alone(ranks: Ranks) -> Ranks:
    """This process as the only one of a run, on its device."""
    return replace(ranks, rank=0, size=1)


def gather(ranks: Ranks, value: Any) -> list[Any]:
    """The values of all ranks, on every rank, once all have come here."""
    values = [value] * ranks.size
    if ranks.size > 1:
        dist.all_gather_object(values, value)
    return values


def stop_ranks() -> None:
    """Leave the group that start_ranks joined."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _join_mpi() -> tuple[int, int, int, int, dist.Store | None]:
    """rank, size, local rank, local size and rank 0's store, when mpirun (or srun) started this process."""
    started = max((int(os.environ.get(name, 1)) for name in _MPI_SIZES), default=1)
    if started == 1:
        return 0, 1, 0, 1, None
    try:
        from mpi4py import MPI
    except ImportError:
        raise LaunchError(
            f"started as one of {started} MPI processes, which needs mpi4py: pip install mpi4py"
        ) from None
    world = MPI.COMM_WORLD
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    rank, size = world.Get_rank(), world.Get_size()
    if size == 1:
        return 0, 1, 0, 1, None
    host = "127.0.0.1" if node.Get_size() == size else socket.getfqdn()
    # Port 0: the system picks a free one, which the store holds from then on.
    store = dist.TCPStore(host, 0, size, is_master=True, wait_for_workers=False) if rank == 0 else None
    host, port = world.bcast((host, store.port) if store else None)
    if store is None:
        store = dist.TCPStore(host, port, size, is_master=False)
    return rank, size, node.Get_rank(), node.Get_size(), store
