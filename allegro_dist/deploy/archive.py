"""The archive `model.pth`: a frozen TorchScript module with what engines and people read of it (archive_file.py).

Any libtorch loads it with no extension; this is the only Python file that calls torch.jit.
"""

import contextlib
import json
import os
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from allegro_dist.deploy.archive_file import FORMAT_VERSION, MEMBERS, ArchiveError, read_members
from allegro_dist.deploy.engine_data import Tables, read_engine_data, write_engine_data
from allegro_dist.deploy.memory import memory_per_edge
from allegro_dist.deploy.model_card import make_model_card
from allegro_dist.deploy.self_check import SelfCheckError, make_self_check, run_self_check
from allegro_dist.deploy.weights import read_potential, write_weights
from allegro_dist.fused_program import fused_program
from allegro_dist.potential import Potential


@dataclass(frozen=True)
class Archive:
    """A loaded archive that has passed its self-check on `device`."""

    module: Any  # torch.jit.ScriptModule: (edge_vectors, edge_index, atom_types) -> (atomic_energy, edge_gradient)
    card: dict[str, Any]
    device: torch.device
    has_fused_program: bool  # whether the compiled fused evaluator can run it

    @property
    def type_names(self) -> tuple[str, ...]:
        return tuple(self.card["type_names"])

    def cutoffs(self) -> Tensor:
        """[T, T] cutoff of each ordered pair (center, neighbor), Angstrom, float64."""
        return torch.tensor(self.card["pair_cutoffs"], dtype=torch.float64)

    def __call__(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> tuple[Tensor, Tensor]:
        """As Potential.forward, on this archive's device."""
        with _interpreter():
            energy, gradient = self.module(edge_vectors, edge_index, atom_types)
        return energy.detach(), gradient  # freezing takes the detach inside away


def save_archive(
    path: str | os.PathLike[str],
    potential: Potential,
    training: dict[str, Any] | None = None,
    tables: tuple[Tables, dict[str, Any]] = (Tables(), {}),  # noqa: B006, B008 (never changed)
) -> dict[str, Any]:
    """Export a potential; the file appears complete or not at all.

    Args:
        training: what the card says of its origin (plain values).
        tables: of the two-body functions, and what the card says of them; see deploy/tables.py.

    Returns: the model card.
    """
    path = Path(path)
    potential = potential.cpu().eval()
    card = make_model_card(potential, training or {}) | {"tables": tables[0]._asdict() | tables[1]}
    check, program = make_self_check(potential), fused_program(potential)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # TorchScript is frozen technology; see above
        frozen = torch.jit.freeze(torch.jit.script(potential))
        with _interpreter():
            engine_data = write_engine_data(card, check, program, tables[0], memory_per_edge(frozen, check))
        contents = (str(FORMAT_VERSION), json.dumps(card, indent=1), engine_data, write_weights(potential))
        try:
            # The file's name becomes part of its content, so it gets its own name in a folder beside.
            with tempfile.TemporaryDirectory(prefix=".deploy-", dir=path.absolute().parent) as folder:
                torch.jit.save(frozen, Path(folder) / path.name, _extra_files=dict(zip(MEMBERS, contents, strict=True)))
                os.replace(Path(folder) / path.name, path)
        except (OSError, RuntimeError) as error:
            raise ArchiveError(f"{path}: could not be written ({error})") from error
    return card


def load_archive(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Archive:
    """Load an archive and run its self-check on `device`; raises ArchiveError."""
    device = torch.device(device)
    module, card, engine_data = _load(path, device)
    try:
        check, program, _ = read_engine_data(engine_data)
    except (SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ArchiveError(f"{path}: engine.safetensors is damaged or incomplete: {error}") from None
    archive = Archive(module, card, device, has_fused_program=len(program) > 0)
    try:
        run_self_check(check, lambda *edges: archive(*(t.to(device) for t in edges)))
    except SelfCheckError as error:
        raise ArchiveError(
            f"{path}: {error} on {device}; the file is damaged or this machine computes wrongly"
        ) from None
    return archive


def load_potential(path: str | os.PathLike[str]) -> Potential:
    """The potential of an archive with its weights as they were trained, in eval mode; raises ArchiveError."""
    contents = read_members(Path(path))
    if not contents["weights.safetensors"]:
        raise ArchiveError(
            f"{path}: holds the model ready to run only, not its weights as they are trained (archives of earlier "
            "versions do not); take its run folder, or deploy that again"
        )
    try:
        return read_potential(json.loads(contents["model_card.json"]), contents["weights.safetensors"])
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ArchiveError(f"{path}: model_card.json or weights.safetensors is damaged: {error}") from None


def _load(path: str | os.PathLike[str], device: torch.device) -> tuple[Any, dict[str, Any], bytes]:
    path = Path(path)
    contents = read_members(path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            module = torch.jit.load(path, map_location=device)
            return module, json.loads(contents["model_card.json"]), contents["engine.safetensors"]
        except (RuntimeError, ValueError) as error:
            raise ArchiveError(f"{path}: the archive is damaged: {str(error).strip().splitlines()[0]}") from None


@contextlib.contextmanager
def _interpreter() -> Any:
    """Plain interpretation: the profiling executor would compile anew for each new number of edges."""
    previous = torch._C._get_graph_executor_optimize()
    torch._C._set_graph_executor_optimize(False)
    try:
        yield
    finally:
        torch._C._set_graph_executor_optimize(previous)
