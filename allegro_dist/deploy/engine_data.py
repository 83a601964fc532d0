"""What an engine reads of an archive: the member `engine.safetensors`, so that it needs neither torch nor JSON cards.

    texts    type_names (separated by spaces), dtype
    tensors  r_max, interaction_range, cutoffs [T, T] (Angstrom), check.* (self_check.py), tables.intervals,
             tables.tolerance (eV/Angstrom), torchscript.bytes_per_edge (memory.py), and fused.* (fused_program.py)
             for families that the fused evaluator knows

Reals are float64, integers int64.  csrc/archive.cpp reads it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

from allegro_dist.deploy.self_check import SelfCheck

CHECK, FUSED = "check.", "fused."


class Tables(NamedTuple):
    """How finely the fused evaluator tabulates the two-body functions."""

    intervals: int = 0
    """Intervals between zero and each pair's cutoff; 0: no tables, the two-body layers are evaluated."""
    tolerance: float = 0.0
    """Largest deviation of an edge gradient that the self-check may find because of the tables, eV/Angstrom."""


def write_engine_data(
    card: dict[str, Any], check: SelfCheck, program: dict[str, Tensor], tables: Tables, bytes_per_edge: float
) -> bytes:
    """The member's content; `card` as make_model_card gives it, `bytes_per_edge` of the scripted module."""
    tensors = {name: card[name] for name in ("r_max", "interaction_range")} | {"cutoffs": card["pair_cutoffs"]}
    tensors |= {f"tables.{name}": value for name, value in tables._asdict().items()}
    tensors["torchscript.bytes_per_edge"] = float(bytes_per_edge)
    tensors |= {CHECK + name: value for name, value in check._asdict().items()}
    tensors |= {FUSED + name: value for name, value in program.items()}
    texts = {"type_names": " ".join(card["type_names"]), "dtype": card["dtype"]}
    return save({name: _plain(value) for name, value in tensors.items()}, metadata=texts)


def read_engine_data(content: bytes) -> tuple[SelfCheck, dict[str, Tensor], Tables]:
    """Self-check, fused program (empty for other families) and tables."""
    tensors = load(content)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    check: dict[str, Any] = part(CHECK)
    for name in (name for name in check if name.endswith("_tolerance")):
        check[name] = float(check[name])
    tables = Tables(int(tensors["tables.intervals"]), float(tensors["tables.tolerance"]))
    return SelfCheck(**check), part(FUSED), tables


def _plain(value: Any) -> Tensor:
    """float64 or int64, on the CPU, in memory of its own."""
    tensor = torch.as_tensor(value) if isinstance(value, (Tensor, int)) else torch.tensor(value, dtype=torch.float64)
    dtype = torch.float64 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to("cpu", dtype, copy=True).contiguous()
