"""Memory for each edge, as torch's profiler sees it, against functions whose temporaries are known."""

import pytest
import torch

from allegro_dist.deploy.memory import memory_per_edge
from allegro_dist.deploy.self_check import SelfCheck

CHECK = SelfCheck(
    torch.ones(30, 3, dtype=torch.float64), torch.zeros(2, 30, dtype=torch.int64), torch.zeros(4, dtype=torch.int64),
    torch.zeros(4), torch.zeros(30, 3), 1.0, 1.0, 1.0, 1.0,
)  # fmt: skip


def two_at_once(vectors, index, types):
    wide = vectors.repeat(1, 10)  # 240 bytes per edge
    return wide + 1.0  # and as many again, alive together


def one_after_another(vectors, index, types):
    for _ in range(3):
        wide = vectors.repeat(1, 10)
        del wide


@pytest.mark.parametrize("evaluate, size", [(two_at_once, 480), (one_after_another, 240)])
def test_what_is_alive_at_once_counts(evaluate, size):
    # torch rounds an allocation up to 64 bytes
    assert memory_per_edge(evaluate, CHECK) == pytest.approx(size, rel=0.02)
