"""Which frames a step takes: a function of seed and epoch alone, so a position in it is two integers.

And who takes them: frames are shared out over ranks, and over the passes of a step, by their edges, which are what a
frame costs.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import torch


def epoch_batches(num_frames: int, batch_size: int, seed: int, epoch: int, first: int = 0) -> Iterator[list[int]]:
    """The global batches of an epoch from number `first` on; the last may be smaller."""
    generator = torch.Generator().manual_seed((seed << 24) + epoch)
    order = torch.randperm(num_frames, generator=generator)
    for start in range(first * batch_size, num_frames, batch_size):
        yield order[start : start + batch_size].tolist()


def balanced_shares(frames: Sequence[int], costs: Sequence[int], size: int) -> list[list[int]]:
    """Frames shared out in `size` parts of nearly equal cost; each keeps their order, and parts may be empty.

    The dearest frame first, each to the part that has least so far (Graham 1969): the dearest part is at most a third
    above the best possible.
    """
    if size == 1:
        return [list(frames)]
    parts = [(0, 0, part) for part in range(size)]  # cost, number of frames, which part
    taken: list[list[int]] = [[] for _ in range(size)]
    for place in sorted(range(len(frames)), key=lambda p: (-costs[p], p)):
        cost, number, part = parts[0]
        taken[part].append(place)
        heapq.heapreplace(parts, (cost + int(costs[place]), number + 1, part))
    return [[frames[place] for place in sorted(places)] for places in taken]
