"""The compiled training step of Allegro models: a differentiable function of the merged weights.

    energy_i, g_e = f(weights)         g_e = d(sum_i energy_i) / d(edge_vector_e)

Its derivative with respect to the weights, for a loss L(energy, g), is that of sum_i c_i energy_i + sum_e v_e . g_e at
fixed c = dL/denergy and v = dL/dg: one tangent pass along v and one reverse pass (csrc/training_backward.hpp), where
differentiating twice would build the graph of a graph.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from allegro_dist.compiled import engine_library

_MESSAGE_SIZE = 4096


@functools.cache
def _library() -> ctypes.CDLL:
    library = engine_library()
    for name in ("open", "forward"):
        getattr(library, f"allegro_dist_training_{name}").restype = ctypes.c_void_p
    library.allegro_dist_training_num_weights.restype = ctypes.c_long
    return library


class TrainingKernel:
    """The compiled step for models of one structure; one call at a time.

    Args:
        program: the model's fused program (fused_program.py); its weights do not matter.
        dtype: of weights, edge vectors and edge gradients.
        train_wavenumbers: whether the wavenumbers of the radial functions follow the other weights.
        num_threads: sums over threads are taken in their order, so runs repeat to the bit.
        instruction_set: auto | avx512 | avx2 | baseline.

    Raises RuntimeError for a model that is too large, or an instruction set that this machine lacks.
    """

    def __init__(
        self, program: dict[str, Tensor], dtype: torch.dtype, *, train_wavenumbers: bool = False, num_threads: int = 1,
        instruction_set: str = "auto",
    ) -> None:  # fmt: skip
        self._handle: ctypes.c_void_p | None = None
        self.dtype = dtype
        message = ctypes.create_string_buffer(_MESSAGE_SIZE)
        content = save({f"fused.{name}": tensor for name, tensor in program.items()})
        handle = _library().allegro_dist_training_open(
            content, ctypes.c_long(len(content)), int(program["sizes"][3]), str(dtype).removeprefix("torch.").encode(),
            instruction_set.encode(), num_threads, int(train_wavenumbers), message, _MESSAGE_SIZE,
        )  # fmt: skip
        if not handle:
            raise RuntimeError(message.value.decode(errors="replace"))
        self._handle = ctypes.c_void_p(handle)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _library().allegro_dist_training_close(self._handle)

    def num_weights(self, num_present: int) -> int:
        """Merged weights, with those of the pairs of so many types."""
        return int(_library().allegro_dist_training_num_weights(self._handle, num_present))

    def __call__(
        self, weights: Tensor, present: Tensor, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Energies and their gradient; differentiable once, with respect to the weights.

        Args:
            weights: [num_weights(n)], merged weights one after another (csrc/training_planner.hpp has the order).
            present: [n] types of whose pairs there are radial weights.
            edge_vectors: [E, 3], Angstrom.
            edge_index: [2, E] center and neighbor, sorted by center.
            atom_types: [N].

        Returns: [N] energies of the model, float64, and [E, 3] their gradient, in the dtype of the weights.
        """
        return _Evaluation.apply(weights, self, present, edge_vectors, edge_index, atom_types)

    def forward(
        self, weights: Tensor, present: Tensor, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor
    ) -> tuple[Tensor, Tensor, _Tape]:
        """Energies, gradients, and what the backward pass needs."""
        reals = {"weights": weights, "edge_vectors": edge_vectors}
        integers = {"present": present, "edge_index": edge_index, "atom_types": atom_types}
        for name, tensor in (reals | integers).items():
            expected = self.dtype if name in reals else torch.int64
            if tensor.dtype != expected or tensor.device.type != "cpu":
                raise ValueError(f"{name}: expected {expected} on the CPU, got {tensor.dtype} on {tensor.device}")
        num_edges, num_weights = edge_vectors.shape[0], self.num_weights(len(present))
        if weights.shape != (num_weights,) or edge_index.shape != (2, num_edges):
            raise ValueError(
                f"expected {num_weights} weights and edge_index [2, {num_edges}], got {list(weights.shape)} and "
                f"{list(edge_index.shape)}"
            )
        energy = torch.empty(atom_types.shape[0], dtype=torch.float64)
        gradient = torch.empty(num_edges, 3, dtype=self.dtype)
        arrays = [t.contiguous() for t in (weights, atom_types, present, edge_index, edge_vectors)]
        w, types, of, index, vectors, e, g = (_pointer(t) for t in (*arrays, energy, gradient))
        message = ctypes.create_string_buffer(_MESSAGE_SIZE)
        tape = _library().allegro_dist_training_forward(
            self._handle, w, len(energy), num_edges, types, len(present), of, index, vectors, e, g, message,
            _MESSAGE_SIZE,
        )  # fmt: skip
        if not tape:
            raise ValueError(message.value.decode(errors="replace"))
        return energy, gradient, _Tape(self, tape)

    def backward(self, tape: _Tape, weights: Tensor, energy_factors: Tensor, edge_factors: Tensor) -> Tensor:
        """d/d(weights) of sum_i energy_factors[i] energy_i + sum_e edge_factors[e] . gradient_e."""
        out = torch.empty_like(weights)
        message = ctypes.create_string_buffer(_MESSAGE_SIZE)
        arrays = [t.contiguous() for t in (weights, energy_factors, edge_factors)]
        pointers = [_pointer(t) for t in (*arrays, out)]
        if _library().allegro_dist_training_backward(self._handle, tape.handle, *pointers, message, _MESSAGE_SIZE):
            raise RuntimeError(message.value.decode(errors="replace"))
        return out

    def give_back(self, tape: ctypes.c_void_p) -> None:
        """Let a later evaluation use a tape's memory."""
        _library().allegro_dist_training_give_back(self._handle, tape)


class _Tape:
    """What a forward pass left in the kernel's memory; given back when nothing refers to it any more."""

    def __init__(self, kernel: TrainingKernel, handle: int) -> None:
        self.kernel, self.handle = kernel, ctypes.c_void_p(handle)

    def __del__(self) -> None:
        self.kernel.give_back(self.handle)


class _Evaluation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, kernel: TrainingKernel, *graph: Tensor) -> tuple[Tensor, Tensor]:
        energy, gradient, tape = kernel.forward(weights, *graph)
        ctx.kernel, ctx.tape = kernel, tape
        ctx.save_for_backward(weights)
        return energy, gradient

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, energy_factors: Tensor, edge_factors: Tensor) -> tuple[Tensor | None, ...]:
        (weights,) = ctx.saved_tensors
        if ctx.tape is None:
            raise RuntimeError("the fused training step can be differentiated once: what it kept is gone")
        gradient = ctx.kernel.backward(ctx.tape, weights, energy_factors, edge_factors)
        ctx.tape = None
        return gradient, None, None, None, None, None


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
