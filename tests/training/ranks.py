"""Runs a function in several processes that meet as ranks, forked from one that has torch imported already."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAUNCH_VARIABLES = ("PMI", "OMPI", "MPI", "HYDRA", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "SLURM_", "TORCHELASTIC")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["allegro_dist.training.run"])


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without what tells of a launcher, and with these variables."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCH_VARIABLES)}
    return {**clean, "OMP_NUM_THREADS": "1", **variables}


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def torchrun_variables(rank: int, size: int, port: str) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port}  # fmt: skip


def slurm_variables(rank: int, size: int, port: str) -> dict[str, str]:
    """What srun sets on one node, by the name of which the machine knows itself."""
    return {"SLURM_STEP_NUM_TASKS": str(size), "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank),
            "SLURM_JOB_ID": port, "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost",
            "MASTER_PORT": port}  # fmt: skip


def start(size: int, function: Callable[..., Any], *arguments: Any, log: Path,
          variables: Callable[[int, int, str], dict[str, str]] = torchrun_variables) -> list[Any]:  # fmt: skip
    """Processes that run the function; each writes its messages to log.RANK."""
    port = free_port()
    processes = [
        CONTEXT.Process(target=_rank, args=(variables(r, size, port), f"{log}.{r}", function, arguments))
        for r in range(size)
    ]
    for process in processes:
        process.start()
    return processes


def run(size: int, function: Callable[..., Any], *arguments: Any, log: Path, **options: Any) -> None:
    """Run the function on ranks; all must end well."""
    processes = start(size, function, *arguments, log=log, **options)
    for process in processes:
        process.join(100)
    messages = [Path(f"{log}.{r}").read_text() for r in range(size)]
    assert [p.exitcode for p in processes] == [0] * size, messages


def _rank(variables: dict[str, str], log: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    clean = environment(**variables)
    os.environ.clear()
    os.environ.update(clean)
    function(*arguments)
