"""What LAMMPS writes while it runs: rows of its log and of its fixes' files, snapshots of its dumps.

Read while it writes: a line or a snapshot that is not whole yet is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import fs
from numpy.typing import NDArray

from allegro_dist.simulate.script import FORCES

PICOSECOND = 1000 * fs  # in ASE's units


@dataclass(frozen=True)
class LammpsFrame:
    """A snapshot of a dump."""

    step: int
    cell: NDArray[np.float64]  # [3, 3] Angstrom
    origin: NDArray[np.float64]  # [3]
    periodic: tuple[bool, ...]
    columns: dict[str, list[str]]
    text: str  # as LAMMPS wrote it


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


def read_dump(path: Path, last: int = -1) -> list[LammpsFrame]:
    """All whole snapshots of a dump that come behind a step."""
    return new_frames(path, 0, last)[0]


def new_rows(path: Path, position: int, num_columns: int) -> tuple[list[list[str]], int]:
    """Rows of a table behind a position of a log or of a fix's file, and where to go on."""
    text, end = whole_lines(path, position)
    rows = [line.split() for line in text.splitlines()]
    return [row for row in rows if len(row) == num_columns and row[0].isdecimal() and _are_numbers(row)], end


def _are_numbers(words: Sequence[str]) -> bool:
    try:
        return bool([float(word) for word in words])
    except ValueError:
        return False


def new_frames(dump: Path, position: int, last: int) -> tuple[list[LammpsFrame], int]:
    """Whole snapshots behind a position of a dump and behind a step, each step once; and where to go on."""
    text, _ = whole_lines(dump, position)
    frames = []
    for snapshot in _snapshots(text):
        position += sum(map(len, snapshot))  # ASCII
        if int(snapshot[1]) > last:
            frames.append(_frame(snapshot))
            last = frames[-1].step
    return frames, position


def _snapshots(text: str) -> Iterator[list[str]]:
    """The lines of each."""
    lines = text.splitlines(keepends=True)
    start = 0
    while start + 9 <= len(lines):
        count = int(lines[start + 3])
        stop = start + 9 + count
        if stop > len(lines):
            return
        yield lines[start:stop]
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


def whole_lines(path: Path, position: int) -> tuple[str, int]:
    """Text from a position to the end of the last whole line, and that end."""
    if not path.exists():
        return "", position
    with open(path, "rb") as file:
        file.seek(position)
        content = file.read()
    content = content[: content.rfind(b"\n") + 1]
    return content.decode(), position + len(content)
