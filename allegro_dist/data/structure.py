"""Frames as checked, typed values; reading them from anything that ASE reads, npz files and sets on disk.

Labels are taken from ASE's calculator results, then from the REF_ keys that some data sets use.  Stress may also come
as `virial` (eV, positive under compression): stress = -virial / volume.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

Array = NDArray[np.float64]


class DataError(ValueError):
    """Data that can't be used; the message names the file, the frame and the quantity."""


class Structure(NamedTuple):
    """One frame of N atoms; a label that the frame lacks is None."""

    symbols: tuple[str, ...]
    positions: Array  # [N, 3] Angstrom
    cell: Array  # [3, 3] rows are the cell vectors, Angstrom
    pbc: tuple[bool, bool, bool]
    energy: float | None  # eV, total
    forces: Array | None  # [N, 3] eV/Angstrom
    stress: Array | None  # [3, 3] eV/Angstrom^3, tension positive
    source: str  # "file, frame 3": what an error message calls it

    @property
    def volume(self) -> float:
        """Angstrom^3; 0 without three cell vectors."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def file(self) -> str:
        """Where the frame is from; nothing if it is from no file."""
        return self.source.rpartition(", frame ")[0]

    def as_atoms(self) -> Atoms:
        """ASE's form, without labels."""
        return Atoms(self.symbols, self.positions, cell=self.cell, pbc=self.pbc)


Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def read_structures(paths: Paths) -> list[Structure]:
    """All frames of a file or of several, or of a set on disk; raises DataError as `iterate_structures`."""
    return list(iterate_structures(paths))


def iterate_structures(paths: Paths) -> Iterator[Structure]:
    """Frame after frame of a file or of several; raises DataError for what is unreadable, empty or not finite."""
    if isinstance(paths, (str, os.PathLike)):
        paths = (paths,)
    found = False
    for path in paths:
        for structure, _ in iterate_frames(str(path)):
            found = True
            yield structure
    if not found:
        raise DataError(f"{', '.join(map(str, paths)) or 'no files given'}: the data set holds no frames")


def iterate_frames(path: str) -> Iterator[tuple[Structure, dict[str, Any]]]:
    """Frame after frame of one file, each with what else is said of it (ASE's `info`)."""
    from allegro_dist.data import molecules, stored  # which are made of structures

    if stored.is_set(path):
        yield from ((structure, {}) for structure in stored.open_set(path).structures())
    elif path.endswith(".npz"):
        yield from ((structure, {}) for structure in molecules.read_npz(path))
    else:
        for index, atoms in enumerate(_read_frames(path)):
            yield from_atoms(atoms, f"{path}, frame {index}"), atoms.info


def from_atoms(atoms: Atoms, source: str = "structure") -> Structure:
    """A checked structure from ASE's; raises DataError when a quantity is not finite or has the wrong shape."""
    if len(atoms) == 0:
        raise DataError(f"{source}: a frame without atoms")
    # The calculator's own results: atoms.get_forces() would zero the forces of constrained atoms.
    results: dict[str, Any] = {} if atoms.calc is None else atoms.calc.results
    energy = _first(results.get("energy"), atoms.info.get("REF_energy"))
    forces = _first(results.get("forces"), atoms.arrays.get("REF_forces"))
    structure = Structure(
        symbols=tuple(atoms.get_chemical_symbols()),
        positions=_checked(atoms.positions, (len(atoms), 3), "positions", source),
        cell=_checked(atoms.cell.array, (3, 3), "cell", source),
        pbc=(bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2])),
        energy=None if energy is None else float(_checked(energy, (), "energy", source)),
        forces=None if forces is None else _checked(forces, (len(atoms), 3), "forces", source),
        stress=_stress(atoms, results, source),
        source=source,
    )
    for periodic, vector in zip(structure.pbc, structure.cell, strict=True):
        if periodic and not vector.any():
            raise DataError(f"{source}: periodic along a cell vector of zero length; pbc {structure.pbc}")
    return structure


def require_labels(structures: Iterable[Structure], *, forces: bool, stress: bool) -> None:
    """Check that the frames hold what the loss reads: energies, all forces if `forces`, some stress if `stress`.

    An isolated atom needs no forces: they are zero by symmetry.
    """
    any_stress = False
    for structure in structures:
        any_stress |= structure.stress is not None
        missing = [
            name
            for name, needed, value in (
                ("energy", True, structure.energy),
                ("forces", forces and len(structure.symbols) > 1, structure.forces),
            )
            if needed and value is None
        ]
        if missing:
            found = [name for name in ("energy", "forces", "stress") if getattr(structure, name) is not None]
            raise DataError(
                f"{structure.source}: no {' and no '.join(missing)}; labels found: {', '.join(found) or 'none'}. "
                "In extxyz, name them energy= (comment line), forces:R:3 (Properties) and stress=; REF_energy, "
                "REF_forces and REF_stress are read too. To train on frames without forces: data.allow_missing_forces"
            )
    if stress and not any_stress:
        raise DataError("training.loss.stress is not 0, but no training frame has a stress or a virial")


def digest(structures: Iterable[Structure]) -> str:
    """SHA-256 of symbols, geometry and labels in order: two sets with equal digests are the same data."""
    total = hashlib.sha256()
    for s in structures:
        total.update(repr((s.symbols, s.pbc, s.energy)).encode())
        for array in (s.positions, s.cell, s.forces, s.stress):
            total.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns what ASE's readers raise into a DataError that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # they raise whatever they come across
        if path.count("@") == 0 and os.path.exists(path) and os.path.getsize(path) == 0:
            raise DataError(f"{path}: the data set holds no frames (the file is empty)") from None
        raise DataError(f"{path}: ASE can't read it: {type(error).__name__}: {error}") from error


def read_atoms(path: str) -> Atoms:
    """The last frame of a file, as ASE has it; raises DataError."""
    with reading(path):
        atoms = ase.io.read(path, parallel=False)
    assert isinstance(atoms, Atoms)  # a list only where an index asks for one
    return atoms


def _read_frames(path: str) -> Iterator[Atoms]:
    with reading(path):
        # Under MPI, ASE would have rank 0 read for all: but ranks may read other files, or one of them alone.
        yield from ase.io.iread(path, index=":", parallel=False)


def _stress(atoms: Atoms, results: dict[str, Any], source: str) -> Array | None:
    """[3, 3]; None also where there is no volume to refer it to."""
    stress = _first(results.get("stress"), atoms.info.get("REF_stress"))
    virial = _first(atoms.info.get("virial"), atoms.info.get("REF_virial"))
    volume = abs(np.linalg.det(atoms.cell.array))
    if volume == 0 or not atoms.pbc.all():
        return None
    if stress is not None:
        return _full(stress, "stress", source)
    return None if virial is None else -_full(virial, "virial", source) / volume


def _full(value: Any, name: str, source: str) -> Array:
    """[3, 3] from [3, 3], [9] or ASE's Voigt order (xx, yy, zz, yz, xz, xy)."""
    array = np.asarray(value, dtype=np.float64)
    if array.size == 9:
        array = array.reshape(3, 3)
    elif array.shape == (6,):
        array = voigt_6_to_full_3x3_stress(array)
    return _checked(array, (3, 3), name, source)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _checked(value: Any, shape: tuple[int, ...], name: str, source: str) -> Array:
    array = np.array(value, dtype=np.float64)
    if array.shape != shape:
        raise DataError(f"{source}: {name}: expected shape {list(shape)}, got {list(array.shape)}")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(array))[0].tolist()
        where = f" at {bad}" if bad else ""
        raise DataError(f"{source}: {name} is not finite: {array[tuple(bad)]}{where}")
    return array
