"""Errors of processes that mpiexec started together: what several find, one tells; and none is left waiting."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

PATIENCE = 2.0
"""Seconds in which processes that find the same error are all done with finding it."""
TAG = 2


def num_started_by_mpi(environment: Mapping[str, str]) -> int:
    """How many processes a launcher of MPI has started together; 1 where there was none."""
    return max(int(environment.get(f"{name}_SIZE", 1)) for name in ("PMI", "OMPI_COMM_WORLD", "MV2_COMM_WORLD"))


def by_srun(environment: Mapping[str, str], started: int) -> bool:
    """Whether srun started the process as one of several; not a mpirun inside a job, which starts its own number.

    (srun may offer MPI's variables, too, but needs no MPI for what we do. SLURM_NTASKS and SLURM_PROCID are set in a
    batch script as well, which is no task of a step.)
    """
    size = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    return size > 1 and started in (1, size)


def in_one_line(error: Exception) -> str | None:
    """An error that a user can mend; None: a fault of ours or of a library, which keeps its traceback."""
    if type(error).__module__.startswith("allegro_dist"):
        return str(error)
    if isinstance(error, OSError) and error.strerror:  # of the system: no such file, no permission, a full disk
        return ": ".join(map(str, filter(None, (error.filename, error.strerror))))
    return None


def tell(message: str, code: int, *, together: bool) -> None:
    """Print, on stderr, why this process ends, unless one of lower rank does so in the same words.

    Where it has not joined the others yet, and they do not end likewise, all are ended: they would wait for it.

    Args:
        code: with which all are ended.
        together: whether the others are joined sooner or later, unless there is an error.
    """
    had_joined = "mpi4py.MPI" in sys.modules
    world = _world(join=together)
    rank = world.rank if world is not None else 0
    if rank == 0:
        _print(message)
    if world is None:
        return
    told = _exchange(world, message)
    if rank > 0 and told[rank] not in (told.get(lower) for lower in range(rank)):
        _print(message)
    if len(told) < world.size and not had_joined:
        world.Abort(code)


def _world(*, join: bool) -> Any:
    """MPI's communicator of all processes; None for one that is alone, or has not joined them and is not to."""
    started = num_started_by_mpi(os.environ)
    if "mpi4py.MPI" not in sys.modules and (not join or started == 1 or by_srun(os.environ, started)):
        return None
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError):
        return None
    return None if MPI.Is_finalized() else MPI.COMM_WORLD


def _exchange(world: Any, message: str) -> dict[int, bytes]:
    """Digests of what the processes tell that are here within the time, by their ranks; this one's is among them."""
    from mpi4py import MPI

    told = {world.rank: hashlib.sha256(message.encode()).digest()}  # short: it is sent whether or not one waits for it
    sent = [world.isend(told[world.rank], other, TAG) for other in range(world.size) if other != world.rank]
    end, status = time.monotonic() + PATIENCE, MPI.Status()
    while len(told) < world.size and time.monotonic() < end:
        if (letter := world.improbe(tag=TAG, status=status)) is None:
            time.sleep(0.01)
        else:
            told[status.Get_source()] = letter.recv()
    del sent
    return told


def _print(message: str) -> None:
    print(f"allegro-dist: {message}", file=sys.stderr, flush=True)
