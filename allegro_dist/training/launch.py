"""How this process was started: alone, or as one of several by torchrun, mpirun or srun; told from the environment."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

import torch.distributed as dist

from allegro_dist.one_voice import by_srun, num_started_by_mpi

PATIENCE = timedelta(minutes=5)
"""How long processes wait for one another at the start."""
_FIRST_PORT, _NUM_PORTS = 20_000, 20_000  # for jobs of SLURM, one each


class LaunchError(RuntimeError):
    """The processes of a run can't find each other or their device."""


class Launch(NamedTuple):
    """This process among those that were started together."""

    rank: int
    size: int
    local_rank: int
    store: dist.Store | None  # where they meet; None where torch finds that out itself


def find_launch() -> Launch:
    """Who started this process, and where it meets the others; waits for rank 0.

    Raises LaunchError when the others can't be found.
    """
    environment = os.environ
    if "RANK" in environment and "WORLD_SIZE" in environment:  # torchrun
        return Launch(
            int(environment["RANK"]), int(environment["WORLD_SIZE"]), int(environment.get("LOCAL_RANK", 0)), None
        )
    started = num_started_by_mpi(environment)
    if by_srun(environment, started):
        return _launch_of_slurm(environment)
    return _launch_of_mpi(started) if started > 1 else Launch(0, 1, 0, None)


def slurm_meeting_point(environment: Mapping[str, str]) -> tuple[str, int]:
    """Host and port at which the tasks of a SLURM job step meet: its first node, where task 0 is, unless told."""
    address = environment.get("MASTER_ADDR") or first_node(environment["SLURM_STEP_NODELIST"])
    job, step = int(environment["SLURM_JOB_ID"]), int(environment["SLURM_STEP_ID"])
    return address, int(environment.get("MASTER_PORT", _FIRST_PORT + (job + step) % _NUM_PORTS))


def first_node(nodes: str) -> str:
    """The first of SLURM's node list, in its short form: "rack[2]-node[07-09,12],other1" gives rack2-node07."""
    # A comma within brackets goes on with the same name.
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first.group() if first else "")


def _launch_of_slurm(environment: Mapping[str, str]) -> Launch:
    rank, size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
    address, port = slurm_meeting_point(environment)
    try:
        store = dist.TCPStore(address, port, size, is_master=rank == 0, timeout=PATIENCE)
    except RuntimeError as error:
        raise LaunchError(
            f"task {rank} of {size} of SLURM did not meet the others at {address}:{port} within "
            f"{PATIENCE.total_seconds():.0f} s: srun must start all of them; MASTER_ADDR and MASTER_PORT choose "
            f"another place ({str(error).splitlines()[0]})"
        ) from error
    return Launch(rank, size, int(environment.get("SLURM_LOCALID", 0)), store)


def _launch_of_mpi(started: int) -> Launch:
    """mpi4py tells rank and size, and takes the address of rank 0's store to the others."""
    try:
        from mpi4py import MPI
    except ImportError:
        raise LaunchError(
            f"started as one of {started} MPI processes, which needs mpi4py: pip install mpi4py"
        ) from None
    world = MPI.COMM_WORLD
    rank, size = world.Get_rank(), world.Get_size()
    if size != started:
        raise LaunchError(
            f"mpirun started {started} processes, but mpi4py, of another MPI, sees {size}: use the mpirun of "
            f"{MPI.Get_library_version().split(',')[0].strip()}, or torchrun"
        )
    node = world.Split_type(MPI.COMM_TYPE_SHARED)
    host = "127.0.0.1" if node.Get_size() == size else socket.getfqdn()
    # Port 0: the system picks a free one, which the store holds from then on.
    store = dist.TCPStore(host, 0, size, is_master=True, wait_for_workers=False) if rank == 0 else None
    host, port = world.bcast((host, store.port) if store else None)
    if store is None:
        store = dist.TCPStore(host, port, size, is_master=False)
    return Launch(rank, size, node.Get_rank(), store)
