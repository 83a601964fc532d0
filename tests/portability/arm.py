"""The compiled engine and training step built for 64-bit ARM, run by an emulator: stand-ins for the installed ones."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from allegro_dist.training.kernel import TrainingKernel

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "/usr/aarch64-linux-gnu"
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
PACKAGES = {COMPILER: "g++-aarch64-linux-gnu", EMULATOR: "qemu-user"}


def missing_packages() -> list[str]:
    """Debian's names of what building and emulation lack."""
    return [package for tool, package in PACKAGES.items() if not shutil.which(tool)]


@functools.cache
def build() -> Path:
    """The folder of the engine's library; built anew where sources have changed."""
    folder = ROOT / "build" / "aarch64"
    toolchain = [
        "--toolchain",
        ROOT / "cmake" / "aarch64.cmake",
        "-DALLEGRO_CUDA=OFF",
        f"-DPython_EXECUTABLE={sys.executable}",
    ]
    for command in (
        ["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *toolchain],
        ["cmake", "--build", folder, "--target", "allegro_engine", "allegroplugin"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


@functools.cache
def compiled(name: str) -> Path:
    """One of the programs beside this file, linked with the engine's library."""
    folder = build()
    source = Path(__file__).with_name(f"{name}.cpp")
    command = [COMPILER, "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{ROOT}/allegro_dist/csrc", source]
    subprocess.run([*command, "-o", folder / name, f"-L{folder}", "-lallegro_engine"], check=True)
    return folder / name


def run(name: str, arguments: list[object], arrays: list[np.ndarray]) -> tuple[bytes, str]:
    """What a program writes, and says, when it is given arrays one after another."""
    emulator = [EMULATOR, "-L", SYSTEM, "-E", f"LD_LIBRARY_PATH={SYSTEM}/lib:{build()}", "-E", "OMP_NUM_THREADS=1"]
    done = subprocess.run(
        [*emulator, compiled(name), *map(str, arguments)],
        input=b"".join(array.tobytes() for array in arrays),
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed on ARM: {done.stderr.decode()[-2000:]}")
    return done.stdout, done.stderr.decode()


class ArmEngine:
    """The engine of allegro_dist.engine on ARM; an archive is opened anew for each block."""

    def __init__(self, path: str | os.PathLike[str], *, dtype: str = "auto", table_intervals: int | None = None):
        self.arguments = [path, dtype, -1 if table_intervals is None else table_intervals]
        self.evaluator = ""

    def evaluate(self, center_types, edge_offsets, edge_vectors, neighbor_types) -> tuple[np.ndarray, np.ndarray]:
        """atomic_energy [N] eV, edge_gradient [E, 3] eV/Angstrom."""
        num_centers, num_edges = len(center_types), len(edge_vectors)
        integers = [np.asarray(a, dtype=np.int32) for a in (center_types, edge_offsets, neighbor_types)]
        arrays = [np.array([num_centers, num_edges], dtype=np.int32), *integers[:2], edge_vectors, integers[2]]
        results, self.evaluator = run("evaluate_block", self.arguments, arrays)
        energy, gradient = np.split(np.frombuffer(results), [num_centers])
        return energy, gradient.reshape(-1, 3)


class ArmTrainingKernel(TrainingKernel):
    """The training step on ARM: both passes at each of the two calls, whose results are those of one."""

    def __init__(self, program: dict[str, Tensor], dtype: torch.dtype, *, train_wavenumbers: bool) -> None:
        super().__init__(program, dtype, train_wavenumbers=train_wavenumbers)
        self.program = save({f"fused.{name}": tensor for name, tensor in program.items()})
        self.arguments = [str(dtype).removeprefix("torch."), int(program["sizes"][3]), int(train_wavenumbers)]

    def forward(self, weights, present, edge_vectors, edge_index, atom_types):
        graph = (atom_types, present, edge_index, edge_vectors)
        nothing = (torch.zeros(len(atom_types), dtype=torch.float64), torch.zeros_like(edge_vectors))
        energy, gradient, _ = self._run(weights, graph, *nothing)
        return energy, gradient, graph

    def backward(self, tape, weights, energy_factors, edge_factors):
        return self._run(weights, tape, energy_factors, edge_factors)[2]

    def _run(self, weights, graph, energy_factors, edge_factors) -> tuple[Tensor, Tensor, Tensor]:
        atom_types, present, _, edge_vectors = graph
        num_atoms, num_edges, num_weights = len(atom_types), len(edge_vectors), len(weights)
        sizes = np.array([len(self.program), num_weights, num_atoms, num_edges, len(present)], dtype=np.int64)
        tensors = [t.detach().contiguous().numpy() for t in (weights, *graph, energy_factors, edge_factors)]
        program = np.frombuffer(self.program, dtype=np.uint8)
        results, _ = run("training_step", self.arguments, [sizes, program, *tensors])
        energy = torch.frombuffer(bytearray(results[: 8 * num_atoms]), dtype=torch.float64)
        rest = torch.frombuffer(bytearray(results[8 * num_atoms :]), dtype=self.dtype)
        gradient, weight_gradient = rest.split([3 * num_edges, num_weights])
        return energy, gradient.view(-1, 3), weight_gradient
