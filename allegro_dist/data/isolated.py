"""Which frames are of an isolated atom: one atom, far from its own images. Cells of crystals may have one, too."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from allegro_dist.data.structure import Array, Structure

FAR = 7.0
"""Angstrom: images of an atom are nearer in crystals, farther in the boxes of isolated atoms."""
_STEPS = np.array([step for step in itertools.product((-1, 0, 1), repeat=3) if any(step)])


def is_isolated(structure: Structure) -> bool:
    """Whether a frame is of an isolated atom."""
    sizes = np.array([len(structure.symbols)])
    return bool(are_isolated(sizes, structure.cell[None], np.array(structure.pbc)[None])[0])


def are_isolated(num_atoms: NDArray[np.int64], cells: Array, pbc: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[F] which frames are; of [F] atoms, in cells [F, 3, 3] (Angstrom) that are periodic along vectors pbc [F, 3]."""
    isolated = num_atoms == 1
    lengths = np.linalg.norm(_STEPS @ cells[isolated], axis=2)
    absent = (_STEPS[None].astype(bool) & ~pbc[isolated].astype(bool)[:, None]).any(2)
    isolated[isolated] = np.where(absent, np.inf, lengths).min(1) > FAR
    return isolated
