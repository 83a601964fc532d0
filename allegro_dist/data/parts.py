"""How a set is split into parts to train, validate and test on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from allegro_dist.data.structure import DataError


def draw_parts(
    groups: NDArray[np.int64], candidates: NDArray[np.bool_], fractions: dict[int, float], seed: int
) -> NDArray[np.uint8]:
    """[F] the part of each frame: whole groups, drawn at random, until a part holds its fraction of the candidates.

    Args:
        groups: [F] group of each frame; frames apart are groups of one.
        candidates: [F] which frames may be drawn; the others stay in part 0, as does what no part draws.
        fractions: of the candidates, for each part.

    Raises DataError when a part gets no frame, or nothing is left for part 0.
    """
    parts = np.zeros(len(groups), dtype=np.uint8)
    names, group = np.unique(groups[candidates], return_inverse=True)
    sizes = np.bincount(group, minlength=len(names))
    order = np.random.default_rng(seed).permutation(len(names))
    part_of_group = np.zeros(len(names), dtype=np.uint8)
    first = 0
    for part, fraction in fractions.items():
        filled = np.cumsum(sizes[order[first:]])
        # the number of groups whose frames come nearest to the fraction, at least one
        count = 1 + int(np.argmin(np.abs(filled - fraction * sizes.sum()))) if len(filled) else 0
        part_of_group[order[first : first + count]] = part
        first += count
    if first >= len(names):
        raise DataError(
            f"{int(candidates.sum())} frames in {len(names)} groups are too few to take the fractions "
            f"{', '.join(map(str, fractions.values()))} out and leave some to train on"
        )
    parts[candidates] = part_of_group[group]
    return parts
