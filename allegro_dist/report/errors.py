"""Errors by type, force magnitude, composition and frame group.

A force error is of components, as everywhere in this package.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from allegro_dist.data.structure import Array
from allegro_dist.report.predictions import Predictions

FORCE_EDGES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, np.inf)
"""eV/Angstrom: between these lie the classes of force magnitude."""


@dataclass(frozen=True)
class Error:
    """Mean absolute and root mean square of `count` errors."""

    count: int
    mae: float
    rmse: float
    mean: float  # signed: an offset shows here


@dataclass(frozen=True)
class GroupErrors:
    """Errors of some frames; None where none of them has the label."""

    name: str
    num_frames: int
    num_atoms: int
    energy_per_atom: Error | None  # eV
    forces: Error | None  # eV/Angstrom
    stress: Error | None  # eV/Angstrom^3


@dataclass(frozen=True)
class ForceErrors:
    """Force errors of some atoms."""

    name: str
    smallest: float  # shortest and longest labelled force of an atom among them, eV/Angstrom
    largest: float
    num_atoms: int
    forces: Error  # eV/Angstrom
    reference_rms: float  # of the labels' components

    @property
    def relative(self) -> float:
        """Root mean square error over the labels' root mean square."""
        return self.forces.rmse / self.reference_rms if self.reference_rms else np.inf


@dataclass(frozen=True)
class WorstFrame:
    """A frame and its largest errors."""

    source: str
    group: str | None
    num_atoms: int
    energy_per_atom: float | None  # eV, signed
    forces_rmse: float  # eV/Angstrom, components
    forces_max: float  # eV/Angstrom, the longest error vector of an atom


def error_of(errors: Array) -> Error | None:
    """Of all that are numbers; None if there are none."""
    known = errors[np.isfinite(errors)]
    if not len(known):
        return None
    return Error(len(known), float(np.abs(known).mean()), float(np.sqrt((known**2).mean())), float(known.mean()))


def frame_errors(p: Predictions, name: str, chosen: NDArray[np.bool_]) -> GroupErrors:
    """Errors of the frames `chosen` [F]."""
    return GroupErrors(
        name,
        int(chosen.sum()),
        int(p.num_atoms[chosen].sum()),
        error_of(p.energy_error[chosen]),
        error_of(p.force_error[chosen[p.atom_frame]]),
        error_of(p.stress_error[chosen]),
    )


def overall(p: Predictions) -> GroupErrors:
    """Errors of all frames."""
    return frame_errors(p, "all", np.ones(len(p.num_atoms), dtype=bool))


def by_name(p: Predictions, names: Sequence[Hashable]) -> list[GroupErrors]:
    """Errors of the frames of each name [F], in the order of their first frames; frames of name None stand last."""
    order = [n for n in dict.fromkeys(names) if n is not None] + [None] * (None in names)
    return [frame_errors(p, str(n or "(none)"), np.array([name == n for name in names])) for n in order]


def by_type(p: Predictions) -> list[ForceErrors]:
    """Force errors on the atoms of each type that has labels."""
    return [
        found for t, name in enumerate(p.type_names) if (found := _atom_errors(p, name, p.atom_types == t)) is not None
    ]


def by_force_magnitude(p: Predictions, edges: Sequence[float] = FORCE_EDGES) -> list[ForceErrors]:
    """Force errors on the atoms whose labelled force is between two edges, eV/Angstrom; empty classes left out."""
    magnitude = np.linalg.norm(p.reference_forces, axis=1)
    classes = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        name = f"{low:g} to {high:g}" if np.isfinite(high) else f"above {low:g}"
        found = _atom_errors(p, name, (magnitude >= low) & (magnitude < high))
        if found is not None:
            classes.append(found)
    return classes


def worst_frames(p: Predictions, count: int = 10) -> list[WorstFrame]:
    """The frames with the largest root mean square force errors, worst first."""
    vectors = (p.force_error**2).sum(axis=1)
    squares = np.bincount(p.atom_frame, weights=vectors) / (3 * p.num_atoms)
    largest = np.zeros(len(p.num_atoms))
    np.maximum.at(largest, p.atom_frame, np.sqrt(np.nan_to_num(vectors)))
    order = [f for f in np.argsort(-squares) if np.isfinite(squares[f])]
    return [
        WorstFrame(
            p.sources[f], p.groups[f], int(p.num_atoms[f]),
            float(p.energy_error[f]) if np.isfinite(p.energy_error[f]) else None,
            float(np.sqrt(squares[f])), float(largest[f]),
        )
        for f in order[:count]
    ]  # fmt: skip


def _atom_errors(p: Predictions, name: str, chosen: NDArray[np.bool_]) -> ForceErrors | None:
    error = error_of(p.force_error[chosen])
    if error is None:
        return None
    squares = (p.reference_forces[chosen] ** 2).sum(axis=1)
    smallest, largest, rms = (np.sqrt(f(squares)) for f in (np.nanmin, np.nanmax, np.nanmean))
    return ForceErrors(name, float(smallest), float(largest), error.count // 3, error, float(rms / np.sqrt(3)))
