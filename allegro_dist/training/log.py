"""The log of a run, a record per validation: metrics.jsonl, and TensorBoard's events where run.tensorboard asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allegro_dist.config import ConfigError
from allegro_dist.files import append, write_atomically, writing_to

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """Records of a run whose first `epoch` epochs are done; later ones, of a run that was killed, are dropped.

    Only rank 0 writes; all ranks may append.
    """

    def __init__(self, folder: Path, epoch: int, *, writes: bool, tensorboard: bool) -> None:
        self.path = folder / "metrics.jsonl"
        self.writes = writes
        self.records = [r for r in _read(self.path) if r["epoch"] <= epoch]
        self.board: SummaryWriter | None = None
        self.events = folder / "tensorboard"
        if writes and tensorboard:
            with writing_to(self.events):
                self.board = require_tensorboard()(str(self.events), purge_step=epoch + 1)
        if writes:
            write_atomically(self.path, "".join(map(_line, self.records)))

    def append(self, record: dict[str, Any]) -> None:
        """Add the record of a validation.  Raises FileError, as opening does."""
        self.records.append(record)
        if self.writes:
            append(self.path, _line(record))
        if self.board is not None:
            with writing_to(self.events):
                for name, value in _scalars(record):
                    self.board.add_scalar(name, value, record["epoch"])
                self.board.flush()

    def close(self) -> None:
        if self.board is not None:
            self.board.close()


def require_tensorboard() -> type[SummaryWriter]:
    """The class that writes TensorBoard's events; raises ConfigError where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(f"run.tensorboard: true needs TensorBoard: pip install tensorboard ({error})") from None
    return SummaryWriter


def _scalars(record: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Learning rate, and for training and validation the loss and the errors: "forces_mae/val"..."""
    yield "learning_rate", record["lr"]
    for part in ("train", "val"):
        for quantity, value in record[part].items():
            if isinstance(value, dict):
                yield from ((f"{quantity}_{kind}/{part}", value[kind]) for kind in ("mae", "rmse"))
            else:
                yield f"{quantity}/{part}", value


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; the last may be torn when its writer was killed."""
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            yield json.loads(line)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"
