"""Bias-free multilayer perceptron with several input and output blocks.

Without biases f(0) = 0, so the cutoff envelope of the input carries through to the output.  Dense skip connections
read all earlier latents: instead of concatenating them (a copy per layer, two more per derivative), each block has
its own weight matrix and the products are accumulated.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from allegro_dist.nn.radial import unit_variance


class ScalarMLP(nn.Module):
    """y_o = W_out[o] silu(... silu(sum_i W_in[i] x_i)), linear if depth is 0.

    Weights start uniform with variance gain^2 / fan_in, gain^2 = 2 behind a silu, so that the variance of the signal
    is kept on the way forward (He et al. 2015).

    Args:
        inputs: widths of the input blocks.
        outputs: widths of the output blocks.
        depth, width: hidden layers.
    """

    def __init__(self, inputs: list[int], outputs: list[int], depth: int, width: int) -> None:
        super().__init__()
        self.depth = depth
        fan_in = sum(inputs)
        self.read = nn.ParameterList([unit_variance(n, width) / math.sqrt(fan_in) for n in inputs] if depth > 0 else [])
        gain = math.sqrt(2.0 / width) if depth > 0 else 1.0 / math.sqrt(fan_in)
        self.hidden = nn.ParameterList([unit_variance(width, width) * gain for _ in range(depth - 1)])
        self.write = nn.ParameterList([unit_variance(width if depth > 0 else fan_in, n) * gain for n in outputs])

    def forward(self, blocks: list[Tensor]) -> list[Tensor]:
        """blocks: one [E, inputs[i]] tensor per input -> one [E, outputs[o]] tensor per output."""
        x = blocks[0]
        if self.depth > 0:
            for i, weight in enumerate(self.read):
                x = blocks[0] @ weight if i == 0 else torch.addmm(x, blocks[i], weight)
            x = silu(x)
            for weight in self.hidden:
                x = silu(x @ weight)
        elif len(blocks) > 1:
            x = torch.cat(blocks, dim=1)
        out: list[Tensor] = []
        for weight in self.write:
            out.append(x @ weight)
        return out
