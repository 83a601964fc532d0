"""Writes a set on disk (set_file.py), whole or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from allegro_dist.data.set_file import FORMAT, TABLES, VERSION, Header, pieces, runs
from allegro_dist.files import replacing

_BLOCK = 1 << 18  # rows written at a time


def write_set(path: Path, header: Header, frames: NDArray[Any], atoms: NDArray[Any], edges: NDArray[Any]) -> None:
    """Write a set from tables (mapped or not) whose frames may be any selection, in any order; whole or not at all.

    Args:
        frames: [F] FRAME, with first_atom and first_edge as rows of `atoms` and `edges`.
    """
    ordered = frames.copy()
    for first, count in (("first_atom", "num_atoms"), ("first_edge", "num_edges")):
        ordered[first] = np.cumsum(frames[count], dtype=np.int64) - frames[count]
    digest = hashlib.sha256()
    with replacing(path) as part, h5py.File(part, "w", alignment_threshold=4096, alignment_interval=4096) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "header": json.dumps(header._asdict())})
        _fill(file, "frames", len(ordered), iter([ordered]), digest)
        for name, table, first, count in (
            ("atoms", atoms, "first_atom", "num_atoms"),
            ("edges", edges, "first_edge", "num_edges"),
        ):
            _fill(file, name, int(frames[count].sum()), _chosen_rows(table, frames[first], frames[count]), digest)
        file.attrs["digest"] = digest.hexdigest()


def _fill(file: h5py.File, name: str, length: int, blocks: Iterator[NDArray[Any]], digest: Any) -> None:
    table = file.create_dataset(name, (length,), TABLES[name])
    done = 0
    for block in blocks:
        table[done : done + len(block)] = block
        digest.update(block.tobytes())
        done += len(block)


def _chosen_rows(table: NDArray[Any], first: NDArray[Any], count: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of all frames, some at a time."""
    # As bytes: numpy joins records field by field.
    rows = table.view(np.dtype((np.void, table.dtype.itemsize)))
    for some in pieces(count, _BLOCK):
        places = zip(*runs(first[some], count[some]), strict=True)
        yield np.concatenate([rows[a : a + n] for a, n in places]).view(table.dtype)
