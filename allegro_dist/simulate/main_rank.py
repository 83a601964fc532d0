"""What rank 0 does alone: if it fails, every rank must learn of it, or the others wait for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allegro_dist.one_voice import in_one_line
from allegro_dist.simulate.checkpoint import SimulationError


class FailedOnMain(SimulationError):  # noqa: N818 (an echo of the error that rank 0 raises)
    """Raised on the other ranks when rank 0 fails, in its words."""


def on_main(comm: Any, work: Callable[[], Any]) -> Any:
    """What `work` returns on rank 0, on every rank; all ranks call this.

    Raises the error of `work` on rank 0, FailedOnMain on the others.
    """
    found, failure = None, None
    if comm.rank == 0:
        try:
            found = work()
        except Exception as error:
            failure = error
    reason = None if failure is None else in_one_line(failure) or repr(failure)  # not every error can be sent
    reason = comm.bcast(reason)
    if failure is not None:
        raise failure
    if reason is not None:
        raise FailedOnMain(reason)
    return comm.bcast(found)
