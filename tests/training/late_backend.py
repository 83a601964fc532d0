"""A back end of torch.distributed that is another one than gloo: it fails as nccl does.

Operations are queued and succeed at once; that a rank is lost is said only to who waits for them, in other words and as
another exception than gloo's, whose sums are taken.
"""

from __future__ import annotations

from typing import Any

import torch.distributed as dist


class LateWork(dist._Work):
    def __init__(self, start: Any) -> None:
        super().__init__()
        self.start = start

    def wait(self, *_: Any) -> bool:
        try:
            return self.start().wait()
        except RuntimeError:
            raise dist.DistBackendError(
                "[Rank 0] NCCL communicator was aborted on rank 0. Original reason: remote process exited"
            ) from None


class LateGroup(dist.ProcessGroup):
    """Sums and broadcasts, which are all that training asks for."""

    def __init__(self, store: dist.Store, rank: int, size: int, timeout: Any) -> None:
        super().__init__(rank, size)
        self.gloo = dist.ProcessGroupGloo(store, rank, size, timeout)

    def getBackendName(self) -> str:  # noqa: N802 (torch's name)
        return "late"

    def allreduce(self, tensors: Any, options: Any) -> LateWork | None:
        return self._queue(options, lambda: self.gloo.allreduce(tensors, options))

    def broadcast(self, tensors: Any, options: Any) -> LateWork | None:
        return self._queue(options, lambda: self.gloo.broadcast(tensors, options))

    def _queue(self, options: Any, start: Any) -> LateWork | None:
        """None, as of nccl, for who doesn't want to wait."""
        return LateWork(start) if options.asyncOp else None


def register() -> str:
    """Its name."""
    dist.Backend.register_backend("late", LateGroup, devices=["cpu"])
    return "late"
