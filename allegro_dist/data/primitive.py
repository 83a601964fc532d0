"""Frames that repeat a smaller cell, such as strained crystals, as that cell: the same labels at fewer edges."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from allegro_dist.data.filters import SAME_PLACE
from allegro_dist.data.structure import Structure

SAME_FORCE = 5e-3
"""eV/Angstrom by which plane-wave codes' forces on atoms that are translations of one another may differ."""


class Repeats(NamedTuple):
    """The frames that repeat a smaller cell."""

    frames: int
    atoms: int  # of them
    needed: int  # atoms of their primitive cells


def primitive(structure: Structure) -> Structure:
    """The primitive cell of a frame that repeats it; the frame itself where it does not, or is not periodic everywhere.

    Translations carry each atom to within 0.1 mA of one of its element, and its force to the other's within 5 meV/A.
    Energy is shared out, forces are the mean over translations, stress and orientation stay.
    """
    if not all(structure.pbc) or not _may_repeat(structure):
        return structure
    import spglib

    inverse = np.linalg.inv(structure.cell)
    numbers = [atomic_numbers[symbol] for symbol in structure.symbols]
    crystal: Any = (structure.cell, structure.positions @ inverse, numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of later ways to tell of failure
        found = spglib.get_symmetry_dataset(crystal, symprec=SAME_PLACE)
    if found is None:
        return structure
    _, first, which = np.unique(found.mapping_to_primitive, return_index=True, return_inverse=True)
    copies = len(structure.symbols) // len(first)
    forces = structure.forces
    if forces is not None:
        mean = _sums(forces, which, len(first)) / copies
        if np.abs(forces - mean[which]).max() > SAME_FORCE:
            return structure
        forces = mean
    if copies == 1:
        return structure
    cell = np.array(found.primitive_lattice)
    places = structure.positions[first] @ np.linalg.inv(cell)
    return structure._replace(
        symbols=tuple(structure.symbols[i] for i in first),
        positions=(places - np.floor(places)) @ cell,
        cell=cell,
        energy=None if structure.energy is None else structure.energy / copies,
        forces=forces,
    )


def count_repeats(structures: Iterable[Structure]) -> Repeats:
    """How many frames repeat a smaller cell."""
    sizes = np.array([(len(s.symbols), len(primitive(s).symbols)) for s in structures]).reshape(-1, 2)
    atoms, needed = sizes[sizes[:, 1] < sizes[:, 0]].T
    return Repeats(len(atoms), int(atoms.sum()), int(needed.sum()))


def _may_repeat(structure: Structure) -> bool:
    """False where the largest force is that of one atom alone, which is quickly seen of most frames."""
    forces = structure.forces
    if forces is None:
        return True
    largest = forces[(forces**2).sum(1).argmax()]
    return int((np.abs(forces - largest).max(1) <= 2 * SAME_FORCE).sum()) > 1


def _sums(values: NDArray[np.float64], which: NDArray[np.int64], number: int) -> NDArray[np.float64]:
    sums = np.zeros((number, values.shape[1]))
    np.add.at(sums, which, values)
    return sums
