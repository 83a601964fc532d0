"""Which frames a step takes: a function of seed and epoch alone, so a position in it is two integers."""

from __future__ import annotations

import torch


def epoch_batches(num_frames: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The global batches of an epoch: all frames once, shuffled; the last batch may be smaller."""
    generator = torch.Generator().manual_seed((seed << 24) + epoch)
    order = torch.randperm(num_frames, generator=generator).tolist()
    return [order[i : i + batch_size] for i in range(0, num_frames, batch_size)]


def rank_share(batch: list[int], rank: int, size: int) -> list[int]:
    """The frames of a global batch that a rank takes; may be none."""
    return batch[rank::size]
