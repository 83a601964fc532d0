"""A data set on disk: one HDF5 file of three tables, frames, atoms and edges.

    frames[F]   energy, cell, stress, ...; first_atom, num_atoms, first_edge, num_edges: its rows of the other two
    atoms[A]    atomic number, position, force, number of edges that it is the center of
    edges[E]    neighbor (an atom of the frame) and shift (cell vectors), sorted by center

The tables are contiguous and not compressed, so that their place in the file is all a reader needs.  HDF5 tells it
once; from then on the table of frames is mapped, and rows of the others are read where they are. (Mapping these, too,
takes longer, for the faults of pages that are touched once, and lets resident memory grow to the size of the file.)
What the system keeps in memory all processes of a machine share.  Edge vectors are not stored; positions and shifts
give them to the last bit, in half the room.
"""

from __future__ import annotations

import itertools
import json
import mmap
import os
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
_ROWS = {"atoms": ("first_atom", "num_atoms"), "edges": ("first_edge", "num_edges")}
_MANY = 64
"""Frames from which on it pays to look for those that follow one another."""


class Header(NamedTuple):
    """What is true of all frames of a set."""

    r_max: float  # to which neighbor lists reach, Angstrom
    symbols: tuple[str, ...]  # that occur, by atomic number
    sources: tuple[str, ...]  # files that the frames are from
    groups: tuple[str, ...]  # values of the info key that the set was split by
    is_split: bool  # whether frames belong to parts
    made_by: dict[str, Any]  # options of `dataset build`


class SetFile:
    """A set, open for reading; `frames` is its first table, mapped.

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
                lengths = {name: file[name].shape[0] for name in TABLES}
                self._begin = {name: file[name].id.get_offset() or 0 for name in TABLES}
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except (OSError, KeyError) as error:
            raise DataError(f"{path}: not a whole HDF5 file: {error}") from error
        self.header = Header._make(tuple(v) if isinstance(v, list) else v for v in map(header.get, Header._fields))
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (open as long as this)
        self._map = mmap.mmap(self._file.fileno(), 0, prot=mmap.PROT_READ)
        self.frames = np.frombuffer(self._map, FRAME, lengths["frames"], self._begin["frames"])

    def atoms(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Rows of the second table of these frames (rows of the first), one frame after another."""
        return self._rows("atoms", frames)

    def edges(self, frames: NDArray[Any]) -> NDArray[Any]:
        """The same of the third table."""
        return self._rows("edges", frames)

    def expect(self, frames: NDArray[Any]) -> None:
        """Have the system fetch the atoms and edges of these frames, which will be read soon."""
        if not hasattr(os, "posix_fadvise"):  # macOS
            return
        for name, columns in _ROWS.items():
            for size, at in zip(*self._places(name, *(frames[c] for c in columns)), strict=True):
                os.posix_fadvise(self._file.fileno(), at, size, os.POSIX_FADV_WILLNEED)

    def _rows(self, name: str, frames: NDArray[Any]) -> NDArray[Any]:
        first, count = (frames[column] for column in _ROWS[name])
        if len(first) > _MANY:
            first, count = runs(first, count)
        sizes, places = self._places(name, first, count)
        descriptor = self._file.fileno()
        content = b"".join([os.pread(descriptor, size, at) for size, at in zip(sizes, places, strict=True)])
        if len(content) != sum(sizes):
            raise DataError(f"{self.path}: cut short since it was opened")
        return np.frombuffer(content, TABLES[name])

    def _places(self, name: str, first: NDArray[Any], count: NDArray[Any]) -> tuple[list[int], list[int]]:
        """Bytes, and where they begin in the file, of the rows [first, first + count) of frames."""
        size = TABLES[name].itemsize
        return (count * size).tolist(), (self._begin[name] + first * size).tolist()


def runs(first: NDArray[Any], count: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows [first, first + count) of frames, joined where frames follow one another in the table."""
    count = count.astype(np.int64)
    starts = np.flatnonzero(np.append(True, first[1:] != first[:-1] + count[:-1]))
    return first[starts], np.add.reduceat(count, starts)


def pieces(count: NDArray[Any], most: int) -> list[slice]:
    """All frames, some at a time: as many as have `most` rows together, or one that has more."""
    before = np.cumsum(count, dtype=np.int64) - count
    bounds = [*np.flatnonzero(np.diff(before // most, prepend=-1)).tolist(), len(count)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]
