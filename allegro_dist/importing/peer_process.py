"""The peer's side: a worker run by the Python that has the peer, and what it wrote."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from allegro_dist.data.structure import Array, Structure
from allegro_dist.importing.errors import ImportModelError

WORKER = Path(__file__).with_name("nequip_worker.py")
SUFFIXES = (".ckpt", ".nequip.zip")


class PeerFrame(NamedTuple):
    """A structure, labelled by the peer with total energy, forces and stress (where it is periodic)."""

    structure: Structure
    energies: Array  # [N] eV, of the atoms


class PeerModel(NamedTuple):
    """What the worker found in a file; importing/nequip_worker.py says how facts and weights are named."""

    facts: dict[str, Any]
    weights: dict[str, Array]
    frames: list[PeerFrame]
    digest: str  # SHA-256 of the file


def read_peer_model(file: str | os.PathLike[str], python: str | None = None) -> PeerModel:
    """Read a checkpoint or package of nequip-allegro.

    Args:
        python: interpreter of an environment with nequip and nequip-allegro; None: this one.

    Raises ImportModelError when there is no such file or interpreter, or the model isn't Allegro.
    """
    path, python = Path(file), python or sys.executable
    if not path.is_file():
        raise ImportModelError(f"{path}: no such file")
    if not path.name.endswith(SUFFIXES):
        raise ImportModelError(f"{path}: expected a checkpoint or package of nequip-allegro ({' or '.join(SUFFIXES)})")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run_worker(path, python, folder)
        facts = json.loads((folder / "model.json").read_text())
        if "refused" in facts:
            raise ImportModelError(f"{path}: {facts['refused']}")
        frames = _frames(_arrays(folder / "reference.npz"), facts["type_names"], path.name)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return PeerModel(facts, _arrays(folder / "weights.npz"), frames, digest)


def _run_worker(path: Path, python: str, folder: Path) -> None:
    command = [python, str(WORKER), str(path.absolute()), str(folder)]
    try:
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError as error:
        raise ImportModelError(f"--peer-python {python}: {error.strerror}") from None
    if run.returncode == 0:
        return
    said = run.stderr.strip().splitlines() or ["it said nothing"]
    if "ModuleNotFoundError" in said[-1]:
        raise ImportModelError(
            f"{python} can't read the peer's models ({said[-1]}): give the interpreter of an environment with nequip "
            "and nequip-allegro by --peer-python"
        )
    raise ImportModelError(f"{path}: {python} can't read it: {said[-1]}")


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    with np.load(path) as file:
        return dict(file)


def _frames(arrays: dict[str, NDArray[Any]], type_names: list[str], source: str) -> list[PeerFrame]:
    frames = []
    for k in range(len({name.partition(".")[0] for name in arrays})):
        energies, stress = arrays[f"{k}.energies"], arrays.get(f"{k}.stress")
        structure = Structure(
            symbols=tuple(type_names[t] for t in arrays[f"{k}.types"]),
            positions=arrays[f"{k}.positions"],
            cell=arrays[f"{k}.cell"],
            pbc=tuple(arrays[f"{k}.pbc"].tolist()),
            energy=float(energies.sum()),
            forces=arrays[f"{k}.forces"],
            stress=None if stress is None else voigt_6_to_full_3x3_stress(stress),
            source=f"{source}, random structure {k}",
        )
        frames.append(PeerFrame(structure, energies))
    return frames
