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
from ase.data import chemical_symbols
from numpy.typing import NDArray

from allegro_dist.data.filters import energy_deviations, geometry_key, largest_force
from allegro_dist.data.isolated import are_isolated
from allegro_dist.data.neighbors import find_edges
from allegro_dist.data.parts import draw_parts
from allegro_dist.data.primitive import Repeats, primitive
from allegro_dist.data.scratch import ScratchTables
from allegro_dist.data.set_file import PARTS, Header
from allegro_dist.data.set_writer import write_set
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
    primitive: bool = False
    """Store frames that repeat a smaller cell as that cell (primitive.py)."""
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
    repeats: Repeats  # which became one cell


def build_set(
    path: Path, files: Sequence[str], options: BuildOptions, report: Callable[[str], None] = lambda line: None
) -> Built:
    """Build the set `path` from files; raises DataError for data that can't be used, and when no frame is left."""
    given = {PARTS.index(name): value for name, value in (("val", options.val), ("test", options.test))}
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder,
        ScratchTables(Path(folder)) as scratch,
    ):
        reader = _Reader(options, scratch, report)
        reader.read(files, part=0)
        for part, value in given.items():
            if not isinstance(value, float):
                reader.read(value, part=part)
        frames, atoms, edges = scratch.tables()
        keep, left_out = _without_outliers(frames, atoms, options), reader.left_out
        left_out["outlying energy"] += int((~keep).sum())
        numbers = atoms["number"][keep.repeat(frames["num_atoms"])]
        frames = frames[keep]
        if not len(frames):
            raise DataError(f"{path}: no frame is left of {sum(left_out.values())}: {_reasons(left_out)}")
        fractions = {part: value for part, value in given.items() if isinstance(value, float)}
        if fractions:
            drawn = frames["part"] == 0
            frames["part"][drawn] = _draw(frames[drawn], fractions, options)
        write_set(path, reader.header(frames, numbers), frames, atoms, edges)
    parts = Counter(PARTS[part] for part in frames["part"].tolist())
    return Built(len(frames), dict(parts), +left_out, reader.repeats)


class _Reader:
    """Reads files into scratch tables, but for what can be left out frame by frame."""

    def __init__(self, options: BuildOptions, scratch: ScratchTables, report: Callable[[str], None]) -> None:
        self.options, self.scratch, self.report = options, scratch, report
        self.left_out = Counter[str]()
        self.repeats = Repeats(0, 0, 0)
        self.sources: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.seen: set[bytes] = set()
        self.cutoffs = np.full((1, 1), options.r_max)

    def read(self, files: Sequence[str], part: int) -> None:
        """Append the frames of files, as of one part."""
        for path in files:
            for structure, info in iterate_frames(path):
                structure = self._reduced(_converted(structure, self.options))
                reason = self._why_not(structure)
                if reason:
                    self.left_out[reason] += 1
                else:
                    self._append(structure, path, self._group(structure, info), part)
                done = self.scratch.num_frames + sum(self.left_out.values())
                if done % REPORT_EVERY == 0:
                    self.report(f"{done} frames read")

    def header(self, frames: NDArray[Any], numbers: NDArray[np.int32]) -> Header:
        """What is true of the frames that stay, whose atoms have these atomic numbers."""
        return Header(
            r_max=self.options.r_max,
            symbols=tuple(chemical_symbols[z] for z in np.flatnonzero(np.bincount(numbers))),
            sources=tuple(self.sources),
            groups=tuple(self.groups),
            is_split=bool(frames["part"].any()),
            made_by=dataclasses.asdict(self.options),
        )

    def _reduced(self, structure: Structure) -> Structure:
        if not self.options.primitive:
            return structure
        cell = primitive(structure)
        if cell is not structure:
            counts = (1, len(structure.symbols), len(cell.symbols))
            self.repeats = Repeats(*map(sum, zip(self.repeats, counts, strict=True)))
        return cell

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
            return structure.file
        if key not in info:
            raise DataError(f"{structure.source}: no '{key}' to split by; the frame has {', '.join(info) or 'none'}")
        return str(info[key])

    def _append(self, structure: Structure, path: str, group: str, part: int) -> None:
        edges = find_edges(structure, np.zeros(len(structure.symbols), dtype=np.int64), self.cutoffs)
        self.scratch.append(
            structure, edges, source=self.sources.setdefault(structure.file or path, len(self.sources)),
            number=int(structure.source.split()[-1]), group=self.groups.setdefault(group, len(self.groups)), part=part,
        )  # fmt: skip


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
    judged = ~_isolated(frames)  # whose energies are far from all others, and right
    deviations = energy_deviations(compositions[judged], frames["energy"][judged])
    keep = np.ones(len(frames), dtype=bool)
    keep[judged] = deviations <= options.outliers
    return keep


def _draw(frames: NDArray[Any], fractions: dict[int, float], options: BuildOptions) -> NDArray[np.uint8]:
    groups = np.arange(len(frames)) if options.split_by == "frame" else frames["group"].astype(np.int64)
    return draw_parts(groups, ~_isolated(frames), fractions, options.seed)


def _isolated(frames: NDArray[Any]) -> NDArray[np.bool_]:
    return are_isolated(frames["num_atoms"], frames["cell"], frames["pbc"])


def _reasons(left_out: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count) or "the files hold none"
