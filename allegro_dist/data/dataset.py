"""The frames of a run: read or opened, checked and split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allegro_dist.config import DataConfig
from allegro_dist.data.frames import FrameList, FrameSet, by_atomic_number
from allegro_dist.data.graph import Graph, build_graph
from allegro_dist.data.stored import StoredFrames, is_set, open_set
from allegro_dist.data.structure import DataError, Structure, read_structures


class Frames(NamedTuple):
    """The frames of a run, split."""

    train: FrameSet
    val: FrameSet
    test: FrameSet
    isolated: list[Structure]
    digest: str  # of the training frames

    def symbols(self) -> tuple[str, ...]:
        """The chemical symbols that occur, by atomic number."""
        return by_atomic_number({s for part in (self.train, self.val, self.test) for s in part.symbols()})


def open_frames(paths: str | Sequence[str]) -> FrameSet:
    """The frames of a set on disk, where they stay, or of files, which are read."""
    names = [paths] if isinstance(paths, str) else list(paths)
    if not any(map(is_set, names)):
        return FrameList(read_structures(names))
    if len(names) > 1:
        raise DataError(
            f"{', '.join(names)}: a set on disk stands alone; `allegro-dist dataset build` makes one set of several"
        )
    return open_set(names[0])


def load_frames(config: DataConfig, *, seed: int, forces: bool, stress: bool) -> Frames:
    """Read and split the data of a run.

    `forces` and `stress` say whether the loss reads them; the training frames are then checked to have them.  With a
    fraction as data.val, the seed draws the frames to hold out; isolated atoms always stay in the training set.
    """
    train = open_frames(config.train)
    if isinstance(train, StoredFrames) and train.is_whole_of_parts:
        raise DataError(f"data.train: {config.train} is split into parts: take {config.train}@train")
    generator = torch.Generator().manual_seed(seed)
    if config.max_frames is not None and config.max_frames < len(train):
        keep = torch.randperm(len(train), generator=generator)[: config.max_frames].tolist()
        train = train.subset(sorted(keep))
    train.require_labels(forces=forces and not config.allow_missing_forces, stress=stress)
    if isinstance(config.val, float):
        train, val = _split(train, config.val, generator)
    else:
        val = open_frames(config.val)
    test: FrameSet = FrameList([]) if config.test is None else open_frames(config.test)
    isolated = [] if config.isolated_atoms is None else read_structures(config.isolated_atoms)
    return Frames(train, val, test, isolated, train.digest())


def find_type_names(structures: Iterable[Structure]) -> tuple[str, ...]:
    """The chemical symbols that occur, by atomic number."""
    return by_atomic_number({symbol for s in structures for symbol in s.symbols})


def build_graphs(structures: Sequence[Structure], type_names: Sequence[str], cutoffs: Tensor,
                 dtype: torch.dtype) -> list[Graph]:  # fmt: skip
    """Graphs of all structures, neighbor lists included."""
    return [build_graph(s, type_names, cutoffs, dtype) for s in structures]


def _split(frames: FrameSet, fraction: float, generator: torch.Generator) -> tuple[FrameSet, FrameSet]:
    candidates = np.flatnonzero(~frames.isolated)
    num_val = max(1, round(fraction * len(candidates)))
    if len(candidates) - num_val < 1:
        raise DataError(
            f"{len(candidates)} frames are too few to hold out {num_val} for validation (data.val = {fraction})"
        )
    held_out = np.zeros(len(frames), dtype=bool)
    held_out[candidates[torch.randperm(len(candidates), generator=generator)[:num_val].numpy()]] = True
    return frames.subset(np.flatnonzero(~held_out).tolist()), frames.subset(np.flatnonzero(held_out).tolist())
