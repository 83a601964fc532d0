"""A data set on disk: one HDF5 file of three tables, frames, atoms and edges, which readers map into memory.

    frames[F]   energy, cell, stress, ...; first_atom, num_atoms, first_edge, num_edges: its rows of the other two
    atoms[A]    atomic number, position, force, number of edges that it is the center of
    edges[E]    neighbor (an atom of the frame) and shift (cell vectors), sorted by center

The tables are contiguous and not compressed, so that their place in the file is all a reader needs: HDF5 tells it once,
and from then on pages come and go as the system sees fit, shared by all processes of a machine.  Edge vectors are not
stored; positions and shifts give them to the last bit, in half the room.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from allegro_dist.data.structure import DataError

SUFFIX = ".h5"
FORMAT, VERSION = "allegro_dist data set", 1
PARTS = ("train", "val", "test")
FRAME = np.dtype(
    [
        ("energy", "<f8"),  # eV; not a number where there is none, as in stress
        ("cell", "<f8", (3, 3)),  # Angstrom
        ("stress", "<f8", (3, 3)),  # eV/Angstrom^3
        ("volume", "<f8"),  # Angstrom^3; 0 without three cell vectors
        ("force_square", "<f8"),  # sum over components, eV^2/Angstrom^2
        ("first_atom", "<i8"),
        ("first_edge", "<i8"),
        ("num_edges", "<i8"),
        ("number", "<i8"),  # in its source file
        ("num_atoms", "<i4"),
        ("source", "<i4"),  # a row of `sources`
        ("group", "<i4"),  # a row of `groups`
        ("pbc", "u1", (3,)),
        ("has_forces", "u1"),
        ("part", "u1"),  # an index of PARTS
        ("reserved", "u1", (7,)),
    ]
)
ATOM = np.dtype([("position", "<f8", (3,)), ("force", "<f8", (3,)), ("num_edges", "<i4"), ("number", "<i4")])
EDGE = np.dtype([("neighbor", "<i4"), ("shift", "i1", (3,)), ("reserved", "u1")])
TABLES = {"frames": FRAME, "atoms": ATOM, "edges": EDGE}
RELEASE_AFTER = 1 << 26
"""Bytes read after which a reader's pages are given back, so that its resident memory stays small."""
_BLOCK = 1 << 16  # rows written or summed at a time


class Header(NamedTuple):
    """What is true of all frames of a set."""

    r_max: float  # to which neighbor lists reach, Angstrom
    symbols: tuple[str, ...]  # that occur, by atomic number
    sources: tuple[str, ...]  # files that the frames are from
    groups: tuple[str, ...]  # values of the info key that the set was split by
    is_split: bool  # whether frames belong to parts
    made_by: dict[str, Any]  # options of `dataset build`


class SetFile:
    """A set, open for reading; `frames`, `atoms` and `edges` are its tables, mapped.

    Raises DataError for a file that isn't a whole set.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = str(path)
        try:
            with h5py.File(path, "r", locking=False) as file:
                if file.attrs.get("format") != FORMAT:
                    raise DataError(f"{path}: not a data set of `allegro-dist dataset build`")
                if int(file.attrs["version"]) > VERSION:
                    raise DataError(
                        f"{path}: format {file.attrs['version']} is newer than this version of allegro_dist reads "
                        f"({VERSION})"
                    )
                header = json.loads(file.attrs["header"])
                self.digest = str(file.attrs["digest"])
                places = {name: (file[name].shape[0], file[name].id.get_offset() or 0) for name in TABLES}
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except (OSError, KeyError) as error:
            raise DataError(f"{path}: not a whole HDF5 file: {error}") from error
        self.header = Header._make(tuple(v) if isinstance(v, list) else v for v in map(header.get, Header._fields))
        with open(path, "rb") as opened:
            self._map = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
        self._map.madvise(mmap.MADV_RANDOM)
        self.frames, self.atoms, self.edges = (
            np.frombuffer(self._map, dtype, *places[name]) if places[name][0] else np.zeros(0, dtype)
            for name, dtype in TABLES.items()
        )
        self._unreleased = 0

    def column(self, name: str) -> NDArray[Any]:
        """A copy of one column of `frames`."""
        values = self.frames[name].copy()
        self.read(self.frames.nbytes)
        return values

    def read(self, num_bytes: int) -> None:
        """Count bytes that were copied from the tables, and let go of their pages when there are many.

        The pages stay in the system's cache: reading them again costs no more than finding them there.
        """
        self._unreleased += num_bytes
        if self._unreleased > RELEASE_AFTER:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._unreleased = 0


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file takes the name `path` when the block ends well, or is removed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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
        _fill(file, "frames", len(ordered), _blocks_of(ordered), digest)
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


def _blocks_of(table: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for first in range(0, len(table), _BLOCK):
        yield table[first : first + _BLOCK]


def _chosen_rows(table: NDArray[Any], first: NDArray[Any], count: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of some frames, a few thousand frames at a time."""
    for block in range(0, len(first), _BLOCK // 16):
        some = slice(block, block + _BLOCK // 16)
        rows = rows_of(table, first[some], count[some])
        if len(rows):
            yield rows


def rows_of(table: NDArray[Any], first: NDArray[Any], count: NDArray[Any]) -> NDArray[Any]:
    """A copy of the rows [first, first + count) of each frame, one frame after another."""
    # As bytes: numpy joins records field by field.
    rows = table.view(np.dtype((np.void, table.dtype.itemsize)))
    chosen = [rows[a : a + n] for a, n in zip(first.tolist(), count.tolist(), strict=True)]
    return np.concatenate(chosen).view(table.dtype) if chosen else table[:0].copy()
