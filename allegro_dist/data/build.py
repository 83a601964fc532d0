"""Builds a set on disk from files, frame after frame: reads, converts, filters, finds neighbors, splits, writes.

Frames go to scratch tables beside the set first, and from there to the set, once it is known which stay.  The set takes
its name when it is whole; a build that ends early leaves nothing but what was there before.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ase.units
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from allegro_dist.data.filters import energy_deviations, geometry_key, largest_force
from allegro_dist.data.neighbors import find_edges
from allegro_dist.data.parts import draw_parts
from allegro_dist.data.set_file import ATOM, EDGE, FRAME, PARTS, Header, write_set
from allegro_dist.data.structure import DataError, Structure, iterate_frames

ENERGY_UNITS = {
    "eV": 1.0,
    "kcal/mol": ase.units.kcal / ase.units.mol,
    "kJ/mol": ase.units.kJ / ase.units.mol,
    "Hartree": ase.units.Hartree,
}
LENGTH_UNITS = {"Angstrom": 1.0, "Bohr": ase.units.Bohr}
REPORT_EVERY = 100_000  # frames


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How a set is built."""

    r_max: float
    """To which neighbor lists reach, Angstrom."""
    energy_unit: str = "eV"
    length_unit: str = "Angstrom"
    """Units of all files; forces are in the one over the other, stress in the one over the other cubed."""
    max_force: float | None = None
    """Leave out frames with a larger force on an atom, eV/Angstrom."""
    outliers: float | None = None
    """Leave out frames whose energy per atom is so many robust standard deviations from what compositions explain."""
    keep_duplicates: bool = False
    val: float | tuple[str, ...] = ()
    test: float | tuple[str, ...] = ()
    """Part to set apart: a fraction of the frames, or files."""
    split_by: str = "frame"
    """Fractions are drawn frame by frame, or by whole groups: `file`, or the key of ASE's info that names the group."""
    seed: int = 0
    """Of the draw."""


class Built(NamedTuple):
    """What became of the frames that were read."""

    kept: int
    parts: dict[str, int]
    left_out: Counter[str]  # for each reason


def build_set(
    path: Path, files: Sequence[str], options: BuildOptions, report: Callable[[str], None] = lambda line: None
) -> Built:
    """Build the set `path` from files; raises DataError for data that can't be used, and when no frame is left."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        reader = _Reader(options, Path(scratch), report)
        given = {PARTS.index(name): value for name, value in (("val", options.val), ("test", options.test))}
        reader.read(files, part=0)
        for part, value in given.items():
            if not isinstance(value, float):
                reader.read(value, part=part)
        frames, atoms, edges = reader.tables()
        keep, left_out = _without_outliers(frames, atoms, options), reader.left_out
        left_out["outlying energy"] += int((~keep).sum())
        frames = frames[keep]
        if not len(frames):
            raise DataError(f"{path}: no frame is left of {sum(left_out.values())}: {_reasons(left_out)}")
        fractions = {part: value for part, value in given.items() if isinstance(value, float)}
        if fractions:
            drawn = frames["part"] == 0
            frames["part"][drawn] = _draw(frames[drawn], fractions, options)
        write_set(path, reader.header(frames, atoms), frames, atoms, edges)
    parts = Counter(PARTS[part] for part in frames["part"].tolist())
    return Built(len(frames), dict(parts), +left_out)


class _Reader:
    """Reads files into scratch tables, leaving out what can be judged frame by frame."""

    def __init__(self, options: BuildOptions, scratch: Path, report: Callable[[str], None]) -> None:
        self.options, self.report = options, report
        self.paths = {name: scratch / name for name in ("frames", "atoms", "edges")}
        self.dtypes = {"frames": FRAME, "atoms": ATOM, "edges": EDGE}
        self.outputs = {name: open(p, "wb", buffering=1 << 20) for name, p in self.paths.items()}  # noqa: SIM115
        self.lengths = Counter[str]()
        self.left_out = Counter[str]()
        self.sources: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.seen: set[bytes] = set()
        self.cutoffs = np.full((1, 1), options.r_max)

    def read(self, files: Sequence[str], part: int) -> None:
        """Append the frames of files, as of one part."""
        for path in files:
            for structure, info in iterate_frames(path):
                structure = _converted(structure, self.options)
                reason = self._why_not(structure)
                if reason:
                    self.left_out[reason] += 1
                else:
                    self._append(structure, path, self._group(structure, info), part)
                done = self.lengths["frames"] + sum(self.left_out.values())
                if done % REPORT_EVERY == 0:
                    self.report(f"{done} frames read")

    def tables(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """All frames, and atoms and edges where they are on disk."""
        for output in self.outputs.values():
            output.close()
        if not self.lengths["frames"]:
            return np.zeros(0, FRAME), np.zeros(0, ATOM), np.zeros(0, EDGE)
        frames = np.fromfile(self.paths["frames"], FRAME)
        atoms, edges = (
            np.memmap(self.paths[name], self.dtypes[name], "r")
            if self.lengths[name] else np.zeros(0, self.dtypes[name])
            for name in ("atoms", "edges")
        )  # fmt: skip
        return frames, atoms, edges

    def header(self, frames: NDArray[Any], atoms: NDArray[Any]) -> Header:
        numbers = np.flatnonzero(np.bincount(atoms["number"]))
        return Header(
            r_max=self.options.r_max,
            symbols=tuple(chemical_symbols[z] for z in numbers),
            sources=tuple(self.sources),
            groups=tuple(self.groups),
            is_split=bool(frames["part"].any()),
            made_by=dataclasses.asdict(self.options),
        )

    def _why_not(self, structure: Structure) -> str:
        """Why a frame is left out; nothing if it is not."""
        ceiling = self.options.max_force
        if ceiling is not None and largest_force(structure) > ceiling:
            return "force above the ceiling"
        if not self.options.keep_duplicates:
            key = geometry_key(structure)
            if key in self.seen:
                return "duplicate"
            self.seen.add(key)
        return ""

    def _group(self, structure: Structure, info: dict[str, Any]) -> str:
        key = self.options.split_by
        if key == "frame":
            return ""
        if key == "file":
            return structure.source.rpartition(", frame ")[0]
        if key not in info:
            raise DataError(f"{structure.source}: no '{key}' to split by; the frame has {', '.join(info) or 'none'}")
        return str(info[key])

    def _append(self, s: Structure, path: str, group: str, part: int) -> None:
        num_atoms = len(s.symbols)
        edge_index, _, shifts = find_edges(s, np.zeros(num_atoms, dtype=np.int64), self.cutoffs)
        if np.abs(shifts).max(initial=0) > 127:
            raise DataError(f"{s.source}: atoms lie more than 127 cells apart; wrap their positions into the cell")
        edges = np.zeros(edge_index.shape[1], EDGE)
        edges["neighbor"], edges["shift"] = edge_index[1], shifts
        atoms = np.zeros(num_atoms, ATOM)
        atoms["position"], atoms["number"] = s.positions, [atomic_numbers[symbol] for symbol in s.symbols]
        atoms["num_edges"] = np.bincount(edge_index[0], minlength=num_atoms)
        frame = np.zeros(1, FRAME)
        frame["energy"] = np.nan if s.energy is None else s.energy
        frame["stress"] = np.nan if s.stress is None else s.stress
        frame["cell"], frame["pbc"], frame["volume"] = s.cell, s.pbc, s.volume
        if s.forces is not None:
            atoms["force"], frame["has_forces"], frame["force_square"] = s.forces, 1, (s.forces**2).sum()
        source, _, number = s.source.rpartition(", frame ")
        frame["source"] = self.sources.setdefault(source or path, len(self.sources))
        frame["number"], frame["part"] = int(number), part
        frame["group"] = self.groups.setdefault(group, len(self.groups))
        frame["num_atoms"], frame["num_edges"] = num_atoms, len(edges)
        frame["first_atom"], frame["first_edge"] = self.lengths["atoms"], self.lengths["edges"]
        for name, rows in (("frames", frame), ("atoms", atoms), ("edges", edges)):
            self.outputs[name].write(rows.tobytes())
            self.lengths[name] += len(rows)


def _converted(structure: Structure, options: BuildOptions) -> Structure:
    """In eV and Angstrom."""
    energy, length = ENERGY_UNITS[options.energy_unit], LENGTH_UNITS[options.length_unit]
    if energy == length == 1.0:
        return structure
    return structure._replace(
        positions=structure.positions * length,
        cell=structure.cell * length,
        energy=None if structure.energy is None else structure.energy * energy,
        forces=None if structure.forces is None else structure.forces * (energy / length),
        stress=None if structure.stress is None else structure.stress * (energy / length**3),
    )


def _without_outliers(frames: NDArray[Any], atoms: NDArray[Any], options: BuildOptions) -> NDArray[np.bool_]:
    """[F] which frames stay."""
    if options.outliers is None or not len(frames):
        return np.ones(len(frames), dtype=bool)
    numbers, kind = np.unique(atoms["number"], return_inverse=True)
    frame = np.repeat(np.arange(len(frames)), frames["num_atoms"])
    size = len(numbers)
    compositions = np.bincount(frame * size + kind, minlength=len(frames) * size).reshape(-1, size).astype(np.float64)
    several = frames["num_atoms"] > 1  # an isolated atom is far from all others, and right
    deviations = energy_deviations(compositions[several], frames["energy"][several])
    keep = np.ones(len(frames), dtype=bool)
    keep[several] = deviations <= options.outliers
    return keep


def _draw(frames: NDArray[Any], fractions: dict[int, float], options: BuildOptions) -> NDArray[np.uint8]:
    groups = np.arange(len(frames)) if options.split_by == "frame" else frames["group"].astype(np.int64)
    return draw_parts(groups, frames["num_atoms"] > 1, fractions, options.seed)


def _reasons(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count) or "the files hold none"
