"""The tables of a set while it is built: on disk, appended to frame by frame."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from allegro_dist.data.neighbors import Edges
from allegro_dist.data.set_file import ATOM, EDGE, FRAME, TABLES
from allegro_dist.data.structure import DataError, Structure

MOST_CELLS = np.iinfo(EDGE["shift"].base).max


class ScratchTables(ExitStack):
    """Use as a context manager; `tables` ends the writing."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.paths = {name: folder / name for name in TABLES}
        self.outputs = {name: self.enter_context(path.open("wb", 1 << 20)) for name, path in self.paths.items()}
        self.lengths = Counter[str]()

    @property
    def num_frames(self) -> int:
        return self.lengths["frames"]

    def append(self, s: Structure, edges: Edges, *, source: int, number: int, group: int, part: int) -> None:
        """Add a frame; raises DataError for an edge across too many cells."""
        num_atoms, num_edges = len(s.symbols), edges.edge_index.shape[1]
        if np.abs(edges.shifts).max(initial=0) > MOST_CELLS:
            raise DataError(
                f"{s.source}: atoms lie more than {MOST_CELLS} cells apart; wrap their positions into the cell"
            )
        edge_rows, atoms, frame = np.zeros(num_edges, EDGE), np.zeros(num_atoms, ATOM), np.zeros(1, FRAME)
        edge_rows["neighbor"], edge_rows["shift"] = edges.edge_index[1], edges.shifts
        atoms["position"], atoms["number"] = s.positions, [atomic_numbers[symbol] for symbol in s.symbols]
        atoms["num_edges"] = np.bincount(edges.edge_index[0], minlength=num_atoms)
        frame["energy"] = np.nan if s.energy is None else s.energy
        frame["stress"] = np.nan if s.stress is None else s.stress
        frame["cell"], frame["pbc"], frame["volume"] = s.cell, s.pbc, s.volume
        if s.forces is not None:
            atoms["force"], frame["has_forces"], frame["force_square"] = s.forces, 1, (s.forces**2).sum()
        frame["source"], frame["number"], frame["group"], frame["part"] = source, number, group, part
        frame["num_atoms"], frame["num_edges"] = num_atoms, num_edges
        frame["first_atom"], frame["first_edge"] = self.lengths["atoms"], self.lengths["edges"]
        for name, rows in (("frames", frame), ("atoms", atoms), ("edges", edge_rows)):
            self.outputs[name].write(rows.tobytes())
            self.lengths[name] += len(rows)

    def tables(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """All frames, and atoms and edges where they are on disk."""
        self.close()
        mapped = {
            name: np.memmap(self.paths[name], dtype, "r") if self.lengths[name] else np.zeros(0, dtype)
            for name, dtype in TABLES.items()
        }
        return np.array(mapped["frames"]), mapped["atoms"], mapped["edges"]
