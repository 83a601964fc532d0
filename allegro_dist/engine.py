"""The compiled engine from Python: what LAMMPS runs, on blocks of centers given as numpy arrays."""

from __future__ import annotations

import ctypes
import functools
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from allegro_dist.compiled import engine_library

_MESSAGE_SIZE = 4096


@functools.cache
def _library() -> ctypes.CDLL:
    library = engine_library()
    library.allegro_dist_engine_open.restype = ctypes.c_void_p
    library.allegro_dist_engine_evaluator.restype = ctypes.c_char_p
    for name in ("close", "evaluator", "evaluate"):
        function = getattr(library, f"allegro_dist_engine_{name}")
        if name != "evaluate":
            function.argtypes = [ctypes.c_void_p]
    return library


class Engine:
    """An opened archive that has passed its self-check on the chosen evaluator.

    Args:
        path: archive written by `allegro-dist deploy`.
        device: auto | cpu | cuda | cuda:N.
        evaluator: auto | fused | torchscript; auto takes the fused one for Allegro models on the CPU.
        instruction_set: auto | avx512 | avx2 | baseline, of the fused evaluator.
        dtype: auto (the archive's) | float32 | float64, of the fused evaluator.
        table_intervals: of the two-body tables; None: as the archive says, 0: no tables.

    Raises ValueError for an option that cannot be met, RuntimeError for an archive that cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: str = "cpu",
        num_threads: int = 1,
        evaluator: str = "auto",
        instruction_set: str = "auto",
        dtype: str = "auto",
        table_intervals: int | None = None,
    ) -> None:
        self._handle: int | None = None
        message, invalid = ctypes.create_string_buffer(_MESSAGE_SIZE), ctypes.c_int(0)
        texts = (evaluator.encode(), instruction_set.encode(), dtype.encode())
        intervals = -1 if table_intervals is None else table_intervals
        self._handle = _library().allegro_dist_engine_open(
            os.fspath(path).encode(), device.encode(), num_threads, *texts, intervals, message, _MESSAGE_SIZE,
            ctypes.byref(invalid),
        )  # fmt: skip
        if not self._handle:
            raise (ValueError if invalid.value else RuntimeError)(message.value.decode(errors="replace"))

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _library().allegro_dist_engine_close(self._handle)

    @property
    def evaluator(self) -> str:
        """The evaluator in use, with its instruction set and tables."""
        return str(_library().allegro_dist_engine_evaluator(self._handle).decode())

    def evaluate(
        self, center_types: npt.ArrayLike, edge_offsets: npt.ArrayLike, edge_vectors: npt.ArrayLike,
        neighbor_types: npt.ArrayLike,
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:  # fmt: skip
        """Energies of centers and gradients of their edges.

        Args:
            center_types: [N] model types.
            edge_offsets: [N + 1]; the edges of center i are edge_offsets[i] .. edge_offsets[i + 1] - 1.
            edge_vectors: [E, 3] r_neighbor - r_center, Angstrom.
            neighbor_types: [E] model types.

        Returns: atomic_energy [N] eV, edge_gradient [E, 3] eV/Angstrom.
        """
        types, offsets, neighbors = (
            np.ascontiguousarray(a, dtype=np.int32) for a in (center_types, edge_offsets, neighbor_types)
        )
        vectors = np.ascontiguousarray(edge_vectors, dtype=np.float64).reshape(-1, 3)
        if len(offsets) != len(types) + 1 or offsets[0] != 0 or offsets[-1] != len(vectors):
            raise ValueError(
                f"edge_offsets: expected {len(types) + 1} values from 0 to {len(vectors)}, got {len(offsets)} "
                f"from {offsets[0]} to {offsets[-1]}"
            )
        if len(neighbors) != len(vectors):
            raise ValueError(f"neighbor_types: expected {len(vectors)} values, one for each edge, got {len(neighbors)}")
        energy, gradient = np.zeros(len(types)), np.zeros_like(vectors)
        message = ctypes.create_string_buffer(_MESSAGE_SIZE)
        handle = ctypes.c_void_p(self._handle)
        arrays = [_pointer(a) for a in (types, offsets, vectors, neighbors, energy, gradient)]
        if _library().allegro_dist_engine_evaluate(handle, len(types), *arrays, message, _MESSAGE_SIZE):
            raise RuntimeError(message.value.decode(errors="replace"))
        return energy, gradient

    def evaluate_atoms(
        self, edge_vectors: npt.ArrayLike, edge_index: npt.ArrayLike, atom_types: npt.ArrayLike
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Energies and gradients of all atoms of a structure, each of them a center, from what models take.

        Args:
            edge_vectors: [E, 3] r_neighbor - r_center, Angstrom.
            edge_index: [2, E] centers and neighbors, sorted by center.
            atom_types: [N] model types.

        Returns: atomic_energy [N] eV, edge_gradient [E, 3] eV/Angstrom.
        """
        types, (centers, neighbors) = np.asarray(atom_types), np.asarray(edge_index)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(centers, minlength=len(types)))])
        return self.evaluate(types, offsets, edge_vectors, types[neighbors])


def _pointer(array: npt.NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
