"""How much memory the scripted module takes for each edge, measured by torch's own profiler at export.

Engines need it to keep a block of edges within a memory budget: it grows with widths, layers and l_max, and no formula
of ours would follow what autograd keeps and frees.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch import Tensor

from allegro_dist.deploy.self_check import SelfCheck

COPIES = (2, 6)  # of the self-check's atoms: the slope between them leaves out what does not grow


def memory_per_edge(evaluate: Callable[[Tensor, Tensor, Tensor], object], check: SelfCheck) -> float:
    """Bytes of tensors alive at the worst moment of an evaluation, for each edge more; on the CPU."""
    few, many = (_peak_memory(evaluate, *_copies(check, number)) for number in COPIES)
    return (many - few) / ((COPIES[1] - COPIES[0]) * max(1, check.edge_index.shape[1]))


def _copies(check: SelfCheck, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Edge vectors, edge index and types of so many copies that do not see each other."""
    shifts = torch.arange(number).repeat_interleave(check.edge_index.shape[1]) * len(check.atom_types)
    return (
        check.edge_vectors.repeat(number, 1),
        check.edge_index.repeat(1, number) + shifts,
        check.atom_types.repeat(number),
    )


def _peak_memory(evaluate: Callable[[Tensor, Tensor, Tensor], object], *edges: Tensor) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler would report its own start and stop
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        evaluate(*edges)
    alive = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            peak = max(peak, alive)
    return peak
