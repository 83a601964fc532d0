"""What a simulation leaves: tables and the trajectory, appended at checkpoints from what LAMMPS wrote meanwhile.

LAMMPS writes a log, a dump and files of fixes that begin anew in every process, and repeat the step at which a run
begins.  Whatever comes after the last checkpoint is lost with a process that dies.  So steps are taken over once, in
order, when the checkpoint that contains them is there; a file that is longer than the checkpoint says is cut back
first.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import fs
from numpy.typing import NDArray

from allegro_dist.simulate.script import FORCES
from allegro_dist.simulate.tables import Table

PICOSECOND = 1000 * fs  # in ASE's units


class Written(NamedTuple):
    """How far an output has come."""

    size: int = 0  # bytes
    step: int = -1  # the last one in it


@dataclass(frozen=True)
class LammpsFrame:
    """A snapshot of a dump."""

    step: int
    cell: NDArray[np.float64]  # [3, 3] Angstrom
    origin: NDArray[np.float64]  # [3]
    periodic: tuple[bool, ...]
    columns: dict[str, list[str]]
    text: str  # as LAMMPS wrote it


class Outputs:
    """The files of a simulation's folder, on rank 0."""

    def __init__(self, folder: Path, tables: Sequence[Table], extended: bool, written: Mapping[str, Written]) -> None:
        """`extended`: frames as extxyz, not as LAMMPS's dumps; `written`: what a checkpoint knows, by file names."""
        self.folder, self.tables, self.extended = folder, tuple(tables), extended
        self.trajectory = "trajectory.xyz" if extended else "trajectory.dump"
        self.written = {name: written.get(name, Written()) for name in (*(t.file for t in tables), self.trajectory)}
        self.positions: dict[str, int] = {}  # in the files of LAMMPS: what was taken before
        for name, (size, _) in self.written.items():
            (folder / name).touch()
            os.truncate(folder / name, size)

    def collect(self, dump: str) -> dict[str, Written]:
        """Append what LAMMPS's files have beyond what was taken before; returns what a checkpoint must know."""
        for table in self.tables:
            self._collect_rows(table)
        self._collect_frames(dump)
        return self.written

    def _collect_rows(self, table: Table) -> None:
        size, last = self.written[table.file]
        rows, position = _new_rows(self.folder / table.source, self.positions.get(table.source, 0), len(table.head))
        self.positions[table.source] = position
        text = "" if size else ",".join(table.head) + "\n"
        for row in rows:
            # a run also prints its first and last step, whatever they are
            if int(row[0]) > last and int(row[0]) % table.every == 0:
                text += ",".join(row) + "\n"
                last = int(row[0])
        self.written[table.file] = Written(_append(self.folder / table.file, text), last)

    def _collect_frames(self, dump: str) -> None:
        _, last = self.written[self.trajectory]
        frames, self.positions[dump] = _new_frames(self.folder / dump, self.positions.get(dump, 0))
        text = ""
        for frame in frames:
            if frame.step > last:
                text += _extended(frame) if self.extended else frame.text
                last = frame.step
        self.written[self.trajectory] = Written(_append(self.folder / self.trajectory, text), last)


def as_atoms(frame: LammpsFrame) -> Atoms:
    """ASE's form, in LAMMPS's turn of the cell: unwrapped positions, velocities, forces, energy; step in info."""
    number = {name: np.array(values, dtype=float) for name, values in frame.columns.items() if name != "element"}
    vectors = {name: np.stack([number[column] for column in columns], axis=1) for name, columns in
               (("positions", ("xu", "yu", "zu")), ("velocities", ("vx", "vy", "vz")), ("forces", FORCES))}  # fmt: skip
    atoms = Atoms(frame.columns["element"], vectors["positions"] - frame.origin, cell=frame.cell, pbc=frame.periodic)
    atoms.set_velocities(vectors["velocities"] / PICOSECOND)
    atoms.info["step"] = frame.step
    if "f_spread" in number:
        atoms.arrays["deviation"] = number["f_spread"]
        atoms.info["largest_deviation"] = float(number["f_spread"].max())
    energy = {"energy": float(number["c_atom_energy"].sum())} if "c_atom_energy" in number else {}
    atoms.calc = SinglePointCalculator(atoms, forces=vectors["forces"], **energy)
    return atoms


def read_dump(path: Path) -> list[LammpsFrame]:
    """All whole snapshots of a dump."""
    return _new_frames(path, 0)[0]


def _extended(frame: LammpsFrame) -> str:
    text = io.StringIO()
    ase.io.write(text, as_atoms(frame), format="extxyz", parallel=False)  # rank 0 alone is here
    return text.getvalue()


def _append(path: Path, text: str) -> int:
    """Append and bring to disk; returns the size of the file."""
    with open(path, "ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _new_rows(path: Path, position: int, num_columns: int) -> tuple[list[list[str]], int]:
    """Rows of a table behind a position of a log or of a fix's file, and where to go on."""
    text, end = _whole_lines(path, position)
    rows = [line.split() for line in text.splitlines()]
    return [row for row in rows if len(row) == num_columns and row[0].isdecimal() and _are_numbers(row)], end


def _are_numbers(words: Sequence[str]) -> bool:
    try:
        return bool([float(word) for word in words])
    except ValueError:
        return False


def _new_frames(dump: Path, position: int) -> tuple[list[LammpsFrame], int]:
    """Whole snapshots behind a position of a dump, and where to go on."""
    text, _ = _whole_lines(dump, position)
    frames = []
    for frame in _frames(text):
        frames.append(frame)
        position += len(frame.text.encode())
    return frames, position


def _frames(text: str) -> Iterator[LammpsFrame]:
    lines = text.splitlines(keepends=True)
    start = 0
    while start + 9 <= len(lines):
        count = int(lines[start + 3])
        stop = start + 9 + count
        if stop > len(lines):
            return
        yield _frame(lines[start:stop])
        start = stop


def _frame(lines: Sequence[str]) -> LammpsFrame:
    """Of the lines of a snapshot: TIMESTEP, NUMBER OF ATOMS, BOX BOUNDS, ATOMS."""
    words = lines[4].split()[3:]
    bounds = np.array([[float(word) for word in line.split()] for line in lines[5:8]])
    cell, origin = _cell(bounds)
    names = lines[8].split()[2:]
    values = zip(*(line.split() for line in lines[9:]))
    return LammpsFrame(
        step=int(lines[1]), cell=cell, origin=origin, periodic=tuple(word == "pp" for word in words[-3:]),
        columns=dict(zip(names, map(list, values))), text="".join(lines),
    )  # fmt: skip


def _cell(bounds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cell [3, 3] and origin [3] of BOX BOUNDS [3, 2 or 3], which for a tilted box are those of the box about it."""
    low, high = bounds[:, 0].copy(), bounds[:, 1].copy()
    xy, xz, yz = bounds[:, 2] if bounds.shape[1] == 3 else (0.0, 0.0, 0.0)
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    x, y, z = high - low
    return np.array([[x, 0, 0], [xy, y, 0], [xz, yz, z]]), low


def _whole_lines(path: Path, position: int) -> tuple[str, int]:
    """Text from a position to the end of the last whole line, and that end."""
    if not path.exists():
        return "", position
    with open(path, "rb") as file:
        file.seek(position)
        content = file.read()
    content = content[: content.rfind(b"\n") + 1]
    return content.decode(), position + len(content)
