"""Do energies and forces, or energies and stresses, of a data set belong together?

Between two frames that differ little, the energy changes by the work done on the way, here by the trapezoidal rule:

    E2 - E1  =  sum_i -(F1_i + F2_i)/2 . u_i  +  (V1 s1 + V2 s2)/2 : e

with u the displacements beyond the strain e that carries one cell into the other.  Over many pairs, the slope of the
energy changes against the work is 1; it is -1 where a sign is wrong, and a ratio of units where units are mixed.  What
too few plane waves add to the stress (Pulay) is much the same p in all cells: E2 - E1 then lacks p (V2 - V1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ase.geometry import complete_cell
from numpy.typing import NDArray

from allegro_dist.data.isolated import is_isolated
from allegro_dist.data.structure import Array, Structure

MOST_OF_A_KIND = 200
"""Frames of the same atoms that are compared with one another, all with all."""
SMALL_STRAIN = (1e-4, 0.1)
SMALL_DISPLACEMENT = 0.4
"""Angstrom, root mean square over atoms; beyond it the trapezoidal rule says little."""
SAME_PLACES = 0.02
"""Angstrom; displacements below it are none where strains are compared."""


class Comparison(NamedTuple):
    """Energy changes of P pairs of frames beside the work, eV."""

    work: Array  # [P]
    energy_change: Array  # [P]
    volume_change: Array  # [P] Angstrom^3

    @property
    def slope(self) -> float:
        """Of the energy changes against the work, through zero."""
        return float(self.work @ self.energy_change / (self.work @ self.work))

    @property
    def correlation(self) -> float:
        """Cosine between the two."""
        norms = np.linalg.norm(self.work) * np.linalg.norm(self.energy_change)
        return float(self.work @ self.energy_change / norms) if norms > 0 else 0.0

    @property
    def excess_stress(self) -> float:
        """eV/Angstrom^3, positive under tension: what the stress has too much on its diagonal, by least squares."""
        missing, norm = self.work - self.energy_change, float(self.volume_change @ self.volume_change)
        return float(missing @ self.volume_change) / norm if norm > 0 else 0.0

    @property
    def excess_share(self) -> float:
        """Share of the squared differences between work and energy changes that excess_stress explains."""
        missing = self.work - self.energy_change
        left = missing - self.excess_stress * self.volume_change
        return 1.0 - float(left @ left) / float(missing @ missing) if missing.any() else 0.0


def compare_forces(sample: Sequence[Structure]) -> Comparison:
    """Pairs of neighboring frames in the same cell."""
    pairs = []
    for frames in _of_a_kind([s for s in sample if s.forces is not None and s.energy is not None]):
        cells = np.stack([s.cell for s in frames])
        same_cell = np.abs(cells[:, None] - cells).max((2, 3)) < 1e-6
        distances = np.where(same_cell, _distances(frames), np.inf)
        pairs += [(frames[i], frames[j]) for i, j in _nearest(distances, SMALL_DISPLACEMENT)]
    return _comparison(pairs, [_work_of_forces(a, b) for a, b in pairs])


def compare_stresses(sample: Sequence[Structure]) -> Comparison:
    """Pairs of frames whose atoms are in the same places of cells that are strained against one another."""
    pairs = []
    for frames in _of_a_kind([s for s in sample if s.stress is not None and s.energy is not None]):
        cells = np.stack([s.cell for s in frames])
        strains = np.abs(_strain(cells[:, None], cells)).max((2, 3))
        strained = (strains > SMALL_STRAIN[0]) & (strains < SMALL_STRAIN[1])
        distances = np.where(strained, _distances(frames), np.inf)
        # Among equals, the nearest by strain.
        pairs += [(frames[i], frames[j]) for i, j in _nearest(distances + 1e-3 * strains, SAME_PLACES)]
    works = [_work_of_stress(a, b) + (0.0 if a.forces is None or b.forces is None else _work_of_forces(a, b))
             for a, b in pairs]  # fmt: skip
    return _comparison(pairs, works)


def _comparison(pairs: list[tuple[Structure, Structure]], works: list[float]) -> Comparison:
    changes = [(b.energy or 0.0) - (a.energy or 0.0) for a, b in pairs]
    volumes = [b.volume - a.volume for a, b in pairs]
    return Comparison(*(np.array(values, dtype=np.float64) for values in (works, changes, volumes)))


def _of_a_kind(sample: Sequence[Structure]) -> Iterator[list[Structure]]:
    """Frames of the same atoms, in the same order, of one source; evenly thinned where there are many."""
    kinds = defaultdict(list)
    for s in sample:
        if not is_isolated(s):
            kinds[s.symbols, s.pbc, s.file].append(s)
    for frames in kinds.values():
        if len(frames) > 1:
            yield frames[:: -(-len(frames) // MOST_OF_A_KIND)]


def _displacements(a: Structure, b: Structure) -> Array:
    """[N, 3] of atoms of b from where the strain carries them from a, to the nearest image, Angstrom."""
    if not any(a.pbc):
        return b.positions - a.positions
    # Cells may lack vectors along directions that are not periodic.
    before, after = complete_cell(a.cell), complete_cell(b.cell)
    fractional = np.linalg.solve(after.T, b.positions.T).T - np.linalg.solve(before.T, a.positions.T).T
    fractional -= np.rint(fractional) * np.array(a.pbc)
    moved: Array = fractional @ after
    return moved - moved.mean(0)


def _distances(frames: Sequence[Structure]) -> Array:
    """[n, n] root mean square of _displacements from one frame to another."""
    positions = np.stack([s.positions for s in frames])
    periodic = any(frames[0].pbc)
    cells = np.stack([complete_cell(s.cell) if periodic else np.eye(3) for s in frames])
    fractional = np.linalg.solve(cells.transpose(0, 2, 1), positions.transpose(0, 2, 1)).transpose(0, 2, 1)
    rows = []
    for one in fractional:
        moves = fractional - one
        moves -= np.rint(moves) * np.array(frames[0].pbc)
        moves = moves @ cells
        if periodic:
            moves -= moves.mean(1, keepdims=True)
        rows.append(np.sqrt((moves**2).sum(2).mean(1)))
    distances = np.stack(rows)
    np.fill_diagonal(distances, np.inf)
    return distances


def _nearest(distances: Array, limit: float) -> list[tuple[int, int]]:
    """Each frame with the one nearest to it, if near enough; no pair twice."""
    nearest: NDArray[np.int64] = distances.argmin(1)
    return sorted({(min(i, j), max(i, j)) for i, j in enumerate(nearest.tolist()) if distances[i, j] < limit})


def _strain(before: Array, after: Array) -> Array:
    """[..., 3, 3] symmetric, of one cell against another."""
    deformation = np.linalg.inv(before) @ after
    return (deformation + deformation.swapaxes(-1, -2)) / 2 - np.eye(3)


def _work_of_forces(a: Structure, b: Structure) -> float:
    assert a.forces is not None and b.forces is not None
    return -float(((a.forces + b.forces) / 2 * _displacements(a, b)).sum())


def _work_of_stress(a: Structure, b: Structure) -> float:
    assert a.stress is not None and b.stress is not None
    return float(((a.volume * a.stress + b.volume * b.stress) / 2 * _strain(a.cell, b.cell)).sum())
