"""Crystal and liquid beside one another: how much of a cell is crystal, slab by slab.

Waves across z, whose crests are the crystal's lattice planes, add up over the atoms of a crystalline slab, whatever its
height, and cancel in a liquid:  order = |1/n sum exp(i G r)|^2 - 1/n,  G in the reciprocal lattice, across z.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST_INDEX = 4
"""Of the planes that are looked for."""
PERPENDICULAR = 1e-4
"""How far the cosine of an angle may be from zero."""


@dataclass(frozen=True)
class Coexistence:
    """A crystal beside its liquid over F frames."""

    order: Array  # [F, slabs along z]: 1 as the crystal is on average, 0 as a liquid

    @property
    def share(self) -> Array:
        """[F] crystalline share of the cell."""
        return np.asarray(np.clip(self.order, 0.0, 1.0).mean(axis=1))


def planes_across(crystal: Atoms) -> NDArray[np.int64]:
    """[P, 2] indices (h, k) of the waves across the cell's third vector in which the crystal's atoms agree best.

    Of those with the largest structure factor the longest waves, one of each pair of opposite ones.  Raises ValueError
    for what is not periodic, and for a cell whose third vector is not perpendicular to the others.
    """
    if not crystal.pbc.all():
        raise ValueError(f"a crystal is periodic in three directions, got pbc {crystal.pbc.tolist()}")
    a, b, c = crystal.cell.array / crystal.cell.lengths()[:, None]
    if max(abs(a @ c), abs(b @ c)) > PERPENDICULAR:
        angles = ", ".join(f"{angle:.2f}" for angle in crystal.cell.angles())
        raise ValueError(f"the cell's third vector must be perpendicular to the others, got angles {angles}")
    both = range(-LARGEST_INDEX, LARGEST_INDEX + 1)
    indices = np.array([(h, k) for h in both for k in both if (h, k) > (0, 0)])
    phases = 2 * np.pi * crystal.get_scaled_positions()[:, :2] @ indices.T
    agreement = np.abs(np.exp(1j * phases).mean(axis=0)) ** 2
    lengths = np.linalg.norm(indices @ crystal.cell.reciprocal().array[:2], axis=1)
    best = agreement > agreement.max() - 1e-3
    return np.asarray(indices[best & (lengths < lengths[best].min() * (1 + 1e-3))])


def order_along_z(atoms: Atoms, planes: NDArray[np.int64], repeats: Sequence[int]) -> Array:
    """[slabs] order of a frame of a cell that was repeated so often, a slab for each repeat along z."""
    scaled = atoms.get_scaled_positions(wrap=False) * repeats
    waves = np.exp(2j * np.pi * scaled[:, :2] @ planes.T)
    slab = np.floor(scaled[:, 2]).astype(int) % repeats[2]
    counts = np.maximum(np.bincount(slab, minlength=repeats[2]), 1)
    sums = np.zeros((repeats[2], len(planes)), dtype=complex)
    np.add.at(sums, slab, waves)
    return np.asarray((np.abs(sums / counts[:, None]) ** 2).mean(axis=1) - 1 / counts)


def coexistence(crystal: Atoms, repeats: Sequence[int], warm: Iterable[Atoms], both: Iterable[Atoms]) -> Coexistence:
    """Order over frames, in units of what the warm crystal has.

    Args:
        crystal: the cell that was repeated.
        warm: frames of the crystal alone.
        both: frames of crystal and liquid.

    Raises ValueError as planes_across.
    """
    planes = planes_across(crystal)
    reference = np.mean([order_along_z(atoms, planes, repeats) for atoms in warm])
    return Coexistence(np.stack([order_along_z(atoms, planes, repeats) for atoms in both]) / reference)
