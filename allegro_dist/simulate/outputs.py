"""What a simulation leaves: tables and the trajectory, appended at checkpoints from what LAMMPS wrote meanwhile.

LAMMPS writes a log, a dump and files of fixes that begin anew in every process, and repeat the step at which a run
begins.  Whatever comes after the last checkpoint is lost with a process that dies.  So steps are taken over once, in
order, when the checkpoint that contains them is there; a file that is longer than the checkpoint says is cut back
first.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import ase.io

from allegro_dist.files import FileError, append
from allegro_dist.simulate.lammps_files import LammpsFrame, as_atoms, new_frames, new_rows
from allegro_dist.simulate.tables import Table

FRAMES = "frames.part"
"""The dump of a process."""
EXTENDED, DUMP = "trajectory.xyz", "trajectory.dump"


class Written(NamedTuple):
    """How far an output has come."""

    size: int = 0  # bytes
    step: int = -1  # the last one in it


class Outputs:
    """The files of a simulation's folder, on rank 0."""

    def __init__(self, folder: Path, tables: Sequence[Table], extended: bool, written: Mapping[str, Written]) -> None:
        """`extended`: frames as extxyz, not as LAMMPS's dumps; `written`: what a checkpoint knows, by file names."""
        self.folder, self.tables, self.extended = folder, tuple(tables), extended
        self.trajectory = EXTENDED if extended else DUMP
        self.written = {name: written.get(name, Written()) for name in (*(t.file for t in tables), self.trajectory)}
        self.positions: dict[str, int] = {}  # in the files of LAMMPS: what was taken before
        for name, (size, _) in self.written.items():
            (folder / name).touch()
            os.truncate(folder / name, size)

    def collect(self, step: int) -> dict[str, Written]:
        """Append what LAMMPS's files have beyond what was taken before; returns what a checkpoint at `step` must know.

        Raises FileError for a file that can't be written, by LAMMPS or here.
        """
        rows: dict[str, list[list[str]]] = {}  # by files of LAMMPS, some of which are of several tables
        for table in self.tables:
            if table.source not in rows:
                rows[table.source] = self._new_rows(table)
            self._collect_rows(table, rows[table.source])
        self._refuse_lost_lines(step)
        self._collect_frames()
        return self.written

    def _refuse_lost_lines(self, step: int) -> None:
        """LAMMPS does not notice that it can't write its log."""
        thermo = self.tables[0]
        due, last = step - step % thermo.every, self.written[thermo.file].step
        if last < due:
            log = self.folder / thermo.source
            raise FileError(f"{log}: expected the line of step {due}, but the last one is of {last}: is the disk full?")

    def _new_rows(self, table: Table) -> list[list[str]]:
        position = self.positions.get(table.source, 0)
        rows, self.positions[table.source] = new_rows(self.folder / table.source, position, len(table.head))
        return rows

    def _collect_rows(self, table: Table, rows: Sequence[Sequence[str]]) -> None:
        size, last = self.written[table.file]
        fresh = list(table.behind(last, rows))
        text = ("" if size else table.first_line) + "".join(map(table.line, fresh))
        last = int(fresh[-1][0]) if fresh else last
        self.written[table.file] = Written(append(self.folder / table.file, text), last)

    def _collect_frames(self) -> None:
        _, last = self.written[self.trajectory]
        frames, self.positions[FRAMES] = new_frames(self.folder / FRAMES, self.positions.get(FRAMES, 0), last)
        text = "".join(_extended(frame) if self.extended else frame.text for frame in frames)
        last = frames[-1].step if frames else last
        self.written[self.trajectory] = Written(append(self.folder / self.trajectory, text), last)


def _extended(frame: LammpsFrame) -> str:
    text = io.StringIO()
    ase.io.write(text, as_atoms(frame), format="extxyz", parallel=False)  # rank 0 alone is here
    return text.getvalue()
