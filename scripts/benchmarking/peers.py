"""Other packages' potentials: environments of their own from PyPI, processes that evaluate when asked."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarking.lammps_runs import LAMMPS_STYLES, LammpsRun, RunSettings, lammps_style
from benchmarking.models import Work

PROGRAMS = Path(__file__).parents[1] / "peers"
ENVIRONMENTS = Path.home() / ".cache" / "allegro_dist" / "peers"
SAME_TORCH = f"torch=={torch.__version__.split('+')[0]}"
CELLS = 3  # of diamond along an edge: 216 atoms suit packages that make graphs of tensors
TUNED_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TF_INTRA_OP_PARALLELISM_THREADS": "1", "TF_INTER_OP_PARALLELISM_THREADS": "1"}


class Package(NamedTuple):
    """A package with a program scripts/peers/peer_NAME.py."""

    requirements: tuple[tuple[str, ...], ...]  # groups for pip, in order
    modes: tuple[str, ...]
    models: tuple[str, ...] = ()  # its own; empty: those of ours that the benchmark times, as far as it has them


PACKAGES = {
    "nequip-allegro": Package(((SAME_TORCH,), ("nequip-allegro",)), ("eager", "aotinductor")),
    "mace": Package(((SAME_TORCH,), ("mace-torch",)), ("eager", "compile"), ("128x0e",)),
    "sevennet": Package(((SAME_TORCH,), ("sevenn",)), ("eager",), ("small", "7net-0")),
}
OURS_IN_NEQUIP = ("s5", "big", "three")
DEEPMD = ("deepmd-kit[cpu,lmp]", "ase")
NAMES = (*PACKAGES, "deepmd", *LAMMPS_STYLES)


def interpreter(name: str, requirements: tuple[tuple[str, ...], ...]) -> str:
    """The interpreter of the peer's environment, which is made on first use."""
    folder = ENVIRONMENTS / name
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {name} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        for group in requirements:
            subprocess.run([python, "-m", "pip", "install", "--quiet", *group], check=True)
        (folder / "ready").touch()
    return str(python)


@dataclass
class PeerProcess:
    """A process of a program of scripts/peers; see contestant.py there."""

    model: str
    evaluator: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    engine: str = "python"
    work: Work | None = None
    atoms: int = 8 * CELLS**3
    cores: int = 1

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=os.environ | self.environment | ONE_THREAD,
        )  # fmt: skip
        self._read()  # it is ready

    def _read(self) -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("ready") or line[0].isdigit():
                return line
        raise SystemExit(f"a peer stopped; see what it says: {' '.join(self.command)}")

    def rate(self) -> float:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return float(self._read())

    def bytes_per_atom(self) -> None:
        return None


Peer = PeerProcess | LammpsRun


def make_peers(wanted: list[str], models: list[str], settings: RunSettings) -> list[Peer]:
    """Peers by name ("mace"), or one of their modes ("mace/compile"), ready to be timed."""
    peers: list[Peer] = []
    for item in wanted:
        name, _, mode = item.partition("/")
        if name in LAMMPS_STYLES:
            peers.append(lammps_style(name, settings))
        elif name == "deepmd":
            peers += deepmd_runs(mode, settings)
        else:
            peers += package_processes(name, mode, models)
    return peers


def package_processes(name: str, mode: str, models: list[str]) -> list[PeerProcess]:
    package = PACKAGES[name]
    python = interpreter(name, package.requirements)
    program = PROGRAMS / f"peer_{name.replace('-', '_')}.py"
    keep = ENVIRONMENTS / name / "models"
    return [
        PeerProcess(
            model, f"{name}/{way}{', tuned malloc' if malloc else ''}",
            [python, str(program), way, model, str(CELLS), str(keep)], malloc,
        )
        for model in package.models or [model for model in models if model in OURS_IN_NEQUIP]
        for way in ([mode] if mode else package.modes)
        for malloc in ({}, TUNED_MALLOC)
    ]  # fmt: skip


def deepmd_runs(mode: str, settings: RunSettings) -> list[LammpsRun]:
    """DeePMD-kit's pair style in the LAMMPS of its environment, which must not see our plugin."""
    python = interpreter("deepmd", (DEEPMD,))
    folder = ENVIRONMENTS / "deepmd" / "models"
    if not (folder / "compressed.pb").exists():
        subprocess.run([python, str(PROGRAMS / "prepare_deepmd.py"), str(folder)], check=True, capture_output=True)
    settings = replace(settings, memory_cells=(4, 8))  # it takes much more than others
    environment = {"LD_LIBRARY_PATH": str(ENVIRONMENTS / "deepmd" / "lib"), "LAMMPS_PLUGIN_PATH": ""} | ONE_THREAD
    return [
        LammpsRun(
            "se_e2_a", f"deepmd/{way}{', tuned malloc' if malloc else ''}",
            f"pair_style deepmd {folder / way}.pb\npair_coeff * * Si", settings, cutoff=6.0,
            lmp=[str(Path(python).with_name("lmp"))], environment=environment | malloc,
        )
        for way in ([mode] if mode else ("frozen", "compressed"))
        for malloc in ({}, TUNED_MALLOC)
    ]  # fmt: skip


def check_names(wanted: list[str]) -> None:
    """Raises ValueError for a peer or a mode that is not known."""
    for item in wanted:
        name, _, mode = item.partition("/")
        modes = PACKAGES[name].modes if name in PACKAGES else ("frozen", "compressed") if name == "deepmd" else ()
        if name not in NAMES:
            raise ValueError(f"--peers {name}: expected some of {', '.join(NAMES)}, or all")
        if mode and mode not in modes:
            raise ValueError(f"--peers {item}: expected one of {', '.join([f'{name}/{m}' for m in modes] or [name])}")
