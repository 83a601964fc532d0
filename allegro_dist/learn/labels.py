"""The labels of a round: frames to label, and what became of each, as files that appear whole.

    chosen.xyz                  the frames, by their numbers from 0
    labels/007/label.xyz        a label that was taken
    labels/007/refused.json     one that was computed, but is not taken
    labels/007/failed-0.json    a trial that failed
    labels/007/trial-0/         where the calculator worked

Any number of processes may be at work on a batch, one at a time on each frame.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import ase.io
from ase import Atoms

from allegro_dist.config import ConfigError
from allegro_dist.files import replacing, write_json

CHOSEN, LABELS, DONE = "chosen.xyz", "labels", "label.json"


@dataclass(frozen=True)
class Outcome:
    """What became of a frame; `reason` where it has no label."""

    number: int
    state: str  # labelled, refused, failed, waiting
    trials: int
    seconds: float = 0.0  # of all trials
    reason: str = ""


@dataclass(frozen=True)
class LabelFolder:
    """A frame's folder."""

    path: Path
    number: int

    @property
    def label(self) -> Path:
        return self.path / "label.xyz"

    @property
    def refused(self) -> Path:
        return self.path / "refused.json"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Waits for another process that is at work on the frame, such as one of an array that was submitted before."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def begun(self) -> int | None:
        """When the trial began that has no result, in ns of the file system's clock; None if there is none."""
        try:
            return self._trial().stat().st_ctime_ns
        except FileNotFoundError:
            return None

    def _trial(self) -> Path:
        return self.path / f"trial-{len(self.failures())}"

    def failures(self) -> list[dict[str, object]]:
        """The trials that failed, in their order."""
        files = sorted(self.path.glob("failed-*.json"), key=lambda file: int(file.stem.partition("-")[2]))
        return [json.loads(file.read_text()) for file in files]

    def record_failure(self, reason: str, seconds: float) -> None:
        write_json(self.path / f"failed-{len(self.failures())}.json", {"reason": reason, "seconds": seconds})

    def record_refusal(self, reason: str, seconds: float) -> None:
        write_json(self.refused, {"reason": reason, "seconds": seconds})

    def record_label(self, atoms: Atoms) -> None:
        """Write a frame with its results."""
        write_frames(self.label, [atoms])

    def empty_trial(self) -> Path:
        """A new folder for the next trial; what a killed one left is gone."""
        path = self._trial()
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def outcome(self, retries: int) -> Outcome:
        """Where it stands, when a failed trial is repeated `retries` times."""
        failures = self.failures()
        spent = sum(float(str(f["seconds"])) for f in failures)
        if self.label.exists():
            seconds = spent + float(read_frame(self.label).info["label_seconds"])
            return Outcome(self.number, "labelled", len(failures) + 1, seconds)
        if self.refused.exists():
            refusal = json.loads(self.refused.read_text())
            return Outcome(self.number, "refused", len(failures) + 1, spent + refusal["seconds"], refusal["reason"])
        reason = str(failures[-1]["reason"]) if failures else ""
        return Outcome(self.number, "failed" if len(failures) > retries else "waiting", len(failures), spent, reason)


@dataclass(frozen=True)
class Batch:
    """The frames that are labelled together."""

    folder: Path

    @cached_property
    def frames(self) -> list[Atoms]:
        return list(ase.io.iread(self.folder / CHOSEN, index=":", format="extxyz"))

    def __len__(self) -> int:
        return len(self.frames)

    def label_folder(self, number: int) -> LabelFolder:
        return LabelFolder(self.folder / LABELS / f"{number:03d}", number)

    def outcomes(self, retries: int) -> list[Outcome]:
        """Of all frames."""
        return [self.label_folder(number).outcome(retries) for number in range(len(self))]

    def waiting(self, retries: int) -> list[int]:
        """Numbers of the frames that are not done."""
        return [o.number for o in self.outcomes(retries) if o.state == "waiting"]


def write_batch(folder: Path, frames: Sequence[Atoms]) -> Batch:
    """Frames to be labelled; the file appears whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_frames(folder / CHOSEN, frames)
    return Batch(folder)


def open_batch(folder: Path) -> Batch:
    """The batch of a loop that waits for labels; raises ConfigError where none does."""
    found = [path.parent for path in sorted(folder.glob(f"*/{CHOSEN}")) if not (path.parent / DONE).exists()]
    if not found:
        raise ConfigError(f"{folder}: no frames wait for labels there")
    return Batch(found[-1])


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Frames with their results as extended XYZ; the file appears whole."""
    with replacing(path) as part:
        ase.io.write(part, list(frames), format="extxyz")


def read_frame(path: Path) -> Atoms:
    """The only frame of a file."""
    atoms = ase.io.read(path, index=0, format="extxyz")
    assert isinstance(atoms, Atoms)
    return atoms
