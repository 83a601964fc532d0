"""The frames of a run: read, checked, split, and made into graphs once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from ase.data import atomic_numbers
from torch import Tensor

from allegro_dist.config import DataConfig
from allegro_dist.data.graph import Graph, build_graph
from allegro_dist.data.structure import DataError, Structure, digest, read_structures, require_labels


class Frames(NamedTuple):
    """The structures of a run, split."""

    train: list[Structure]
    val: list[Structure]
    test: list[Structure]
    isolated: list[Structure]
    digest: str  # of the training frames


def load_frames(config: DataConfig, *, seed: int, forces: bool, stress: bool) -> Frames:
    """Read and split the data of a run.

    `forces` and `stress` say whether the loss reads them; the training frames are then checked to have them.  With a
    fraction as data.val, the seed draws the frames to hold out; isolated atoms always stay in the training set.
    """
    train = read_structures(config.train)
    generator = torch.Generator().manual_seed(seed)
    if config.max_frames is not None and config.max_frames < len(train):
        keep = torch.randperm(len(train), generator=generator)[: config.max_frames].tolist()
        train = [train[i] for i in sorted(keep)]
    require_labels(train, forces=forces and not config.allow_missing_forces, stress=stress)
    if isinstance(config.val, float):
        train, val = _split(train, config.val, generator)
    else:
        val = read_structures(config.val)
    test = [] if config.test is None else read_structures(config.test)
    isolated = [] if config.isolated_atoms is None else read_structures(config.isolated_atoms)
    return Frames(train, val, test, isolated, digest(train))


def find_type_names(structures: Iterable[Structure]) -> tuple[str, ...]:
    """The chemical symbols that occur, by atomic number."""
    return tuple(sorted({symbol for s in structures for symbol in s.symbols}, key=lambda name: atomic_numbers[name]))


def build_graphs(structures: Sequence[Structure], type_names: Sequence[str], cutoffs: Tensor,
                 dtype: torch.dtype) -> list[Graph]:  # fmt: skip
    """Graphs of all structures, neighbor lists included: computed once, kept for every epoch."""
    return [build_graph(s, type_names, cutoffs, dtype) for s in structures]


def _split(
    structures: list[Structure], fraction: float, generator: torch.Generator
) -> tuple[list[Structure], list[Structure]]:
    candidates = [i for i, s in enumerate(structures) if len(s.symbols) > 1]
    num_val = max(1, round(fraction * len(candidates)))
    if len(candidates) - num_val < 1:
        raise DataError(
            f"{len(candidates)} frames are too few to hold out {num_val} for validation (data.val = {fraction})"
        )
    drawn = torch.randperm(len(candidates), generator=generator)[:num_val].tolist()
    held_out = {candidates[i] for i in drawn}
    train = [s for i, s in enumerate(structures) if i not in held_out]
    return train, [structures[i] for i in sorted(held_out)]
