"""torch's elementwise functions on CPUs, right from the first call.

torch hands sin, exp and others to oneMKL's vector functions, each of its threads a part of the array.  oneMKL 2024.2,
which torch 2.13 brings, picks the kernel of a function when that is first called; if several threads do so at once, one
may run a kernel of low accuracy, off by 1e-4, in that one call (https://github.com/pytorch/pytorch/issues/188792).  A
first call of a single number, which a single thread makes, settles the choice.
"""

import torch

FUNCTIONS = (torch.sin, torch.cos, torch.exp, torch.log, torch.sqrt, torch.tanh, torch.erf)


def settle_kernels() -> None:
    """Call each function once, in both precisions."""
    for dtype in (torch.float32, torch.float64):
        one = torch.ones(1, dtype=dtype)
        for function in FUNCTIONS:
            function(one)
