"""Steps in proportion to the size that weights had at the start."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class RelativeSteps:
    """Multiplies an optimizer's steps by the sizes of the weights, at most 1; those that started at 0 take whole ones.

    w <- w + size (w' - w), with w' what the optimizer makes of w.  Adam's steps are as long as the rate, whatever the
    scale of the gradients, so this is Adam on weights of unit variance behind constant factors, as nequip-allegro and
    e3nn have them.

    Args:
        sizes: of each of the optimizer's tensors, of the same shape.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, sizes: Sequence[Tensor]) -> None:
        self.tensors: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
        self.factors = [torch.where(size > 0, size, 1.0).clamp(max=1.0) for size in sizes]
        self.before: list[Tensor] = []
        optimizer.register_step_pre_hook(self._remember)
        optimizer.register_step_post_hook(self._shorten)

    def state(self) -> list[Tensor]:
        return self.factors

    def restore(self, state: Sequence[Tensor]) -> None:
        for factor, saved in zip(self.factors, state, strict=True):
            factor.copy_(saved)

    def _remember(self, *_: object) -> None:
        self.before = [tensor.detach().clone() for tensor in self.tensors]

    @torch.no_grad()
    def _shorten(self, *_: object) -> None:
        for tensor, before, factor in zip(self.tensors, self.before, self.factors, strict=True):
            torch.lerp(before, tensor, factor, out=tensor)
