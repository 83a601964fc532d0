"""The archive `model.pth`: a frozen TorchScript module with its model card and self-check.

Any libtorch loads it with no extension; this is the only Python file that calls torch.jit.  What an engine must know
stands as attributes of the module (so that C++ needs no JSON parser), and the card holds the same and more for people.
The extra file `format_version` is read before anything else, so that a newer archive gives a clear error.
"""

import contextlib
import json
import os
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict  # noqa: UP035 (TorchScript)

import torch
from torch import Tensor, nn

from allegro_dist.deploy.fused import Tables, fused_program
from allegro_dist.deploy.model_card import FORMAT_VERSION, make_model_card
from allegro_dist.deploy.self_check import SelfCheck, SelfCheckError, make_self_check, run_self_check
from allegro_dist.potential import Potential

CHECK_TENSORS = ("edge_vectors", "edge_index", "atom_types", "atomic_energy", "edge_gradient")
ATTRIBUTES = (
    "type_names",
    "r_max",
    "interaction_range",
    "model_dtype",
    "cutoffs",
    "check_energy_tolerance",
    "check_gradient_tolerance",
    "fused",
    "table_intervals",
    "table_tolerance",
    *(f"check_{name}" for name in CHECK_TENSORS),
)


class ArchiveError(RuntimeError):
    """A file that is not an archive this version can use; the message names the file and the reason."""


class _Deployed(nn.Module):
    """The potential with the attributes that engines read."""

    fused: Dict[str, Tensor]  # noqa: UP006 (TorchScript)

    def __init__(self, potential: Potential, card: dict[str, Any], check: SelfCheck, tables: Tables) -> None:
        super().__init__()
        self.fused = fused_program(potential)
        self.table_intervals = tables.intervals
        self.table_tolerance = tables.tolerance
        self.potential = potential
        self.type_names = list(card["type_names"])
        self.r_max = float(card["r_max"])
        self.interaction_range = float(card["interaction_range"])
        self.model_dtype = str(card["dtype"])
        self.cutoffs = [float(c) for row in card["pair_cutoffs"] for c in row]
        self.check_energy_tolerance = check.energy_tolerance
        self.check_gradient_tolerance = check.gradient_tolerance
        for name in CHECK_TENSORS:
            self.register_buffer(f"check_{name}", getattr(check, name))

    def forward(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> tuple[Tensor, Tensor]:
        return self.potential(edge_vectors, edge_index, atom_types)


@dataclass(frozen=True)
class Archive:
    """A loaded archive that has passed its self-check on `device`."""

    module: Any  # torch.jit.ScriptModule: (edge_vectors, edge_index, atom_types) -> (atomic_energy, edge_gradient)
    card: dict[str, Any]
    device: torch.device

    @property
    def type_names(self) -> tuple[str, ...]:
        return tuple(self.card["type_names"])

    @property
    def has_fused_program(self) -> bool:
        """Whether the compiled fused evaluator can run it."""
        return len(getattr(self.module, "fused", {})) > 0

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
    deployed = _Deployed(potential, card, make_self_check(potential), tables[0]).eval()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # TorchScript is frozen technology; see above
        frozen = torch.jit.freeze(torch.jit.script(deployed), preserved_attrs=list(ATTRIBUTES))
        extra = {"format_version": str(FORMAT_VERSION), "model_card.json": json.dumps(card, indent=1)}
        try:
            # The file's name becomes part of its content, so it gets its own name in a folder beside.
            with tempfile.TemporaryDirectory(prefix=".deploy-", dir=path.absolute().parent) as folder:
                torch.jit.save(frozen, Path(folder) / path.name, _extra_files=extra)
                os.replace(Path(folder) / path.name, path)
        except (OSError, RuntimeError) as error:
            raise ArchiveError(f"{path}: could not be written ({error})") from error
    return card


def read_model_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The card of an archive, without loading the model."""
    return _load(path, torch.device("cpu"))[1]


def load_archive(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Archive:
    """Load an archive and run its self-check on `device`; raises ArchiveError."""
    device = torch.device(device)
    module, card = _load(path, device)
    archive = Archive(module, card, device)
    tensors = {name: getattr(module, f"check_{name}").cpu() for name in CHECK_TENSORS}
    tolerances = (float(module.check_energy_tolerance), float(module.check_gradient_tolerance))
    check = SelfCheck(**tensors, energy_tolerance=tolerances[0], gradient_tolerance=tolerances[1])
    try:
        run_self_check(check, lambda *edges: archive(*(t.to(device) for t in edges)))
    except SelfCheckError as error:
        raise ArchiveError(
            f"{path}: {error} on {device}; the file is damaged or this machine computes wrongly"
        ) from None
    return archive


def _load(path: str | os.PathLike[str], device: torch.device) -> tuple[Any, dict[str, Any]]:
    path = Path(path)
    if not path.is_file():
        raise ArchiveError(f"{path}: no such file; expected an archive written by `allegro-dist deploy`")
    texts = {"format_version": "", "model_card.json": ""}
    try:
        with zipfile.ZipFile(path) as members:
            damaged = members.testzip()  # every member against its checksum
            for member in members.namelist():
                _, _, name = member.partition("/extra/")
                if name in texts:
                    texts[name] = members.read(member).decode()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ArchiveError(
            f"{path}: not a readable archive (truncated, corrupt, or another kind of file): {error}"
        ) from None
    if damaged:
        raise ArchiveError(f"{path}: the archive is damaged: checksum of {damaged} does not match")
    if not texts["format_version"]:
        raise ArchiveError(f"{path}: not an allegro_dist archive (it has no format_version)")
    if int(texts["format_version"]) > FORMAT_VERSION:
        raise ArchiveError(
            f"{path}: archive format {texts['format_version']}, but this version of allegro_dist reads up to "
            f"{FORMAT_VERSION}; install a newer allegro_dist or deploy the model again"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        try:
            return torch.jit.load(path, map_location=device), json.loads(texts["model_card.json"])
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
