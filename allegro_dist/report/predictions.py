"""Frames evaluated by all models of a committee, beside their labels: the numbers that every statistic starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.formula import Formula
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from allegro_dist.data.neighbors import find_edges, find_types
from allegro_dist.data.structure import Array, DataError, Structure, iterate_frames
from allegro_dist.report.committee import Committee

GROUP_KEYS = ("config_type", "group")
"""Keys of a frame's info that name its group, looked for in this order when none is asked for."""


@dataclass(frozen=True)
class Frame:
    """A labelled structure and the group that it belongs to."""

    structure: Structure
    group: str | None


@dataclass(frozen=True)
class Predictions:
    """Labels and predictions of F frames with A atoms in all by K models; not a number where there is none."""

    type_names: tuple[str, ...]
    sources: tuple[str, ...]  # [F] what a message calls the frame
    groups: tuple[str | None, ...]  # [F]
    compositions: tuple[str, ...]  # [F] reduced formulas
    num_atoms: NDArray[np.int64]  # [F]
    atom_types: NDArray[np.int64]  # [A]
    shift: Array  # [F] energy of the frame's atoms apart, by the first model, eV
    reference_energy: Array  # [F] eV
    reference_forces: Array  # [A, 3] eV/Angstrom
    reference_stress: Array  # [F, 3, 3] eV/Angstrom^3
    energy: Array  # [K, F]
    forces: Array  # [K, A, 3]
    stress: Array  # [K, F, 3, 3]
    shortest: Array  # [T, T] shortest distance of each pair of types, Angstrom; infinite where there is none

    @property
    def num_models(self) -> int:
        return len(self.energy)

    @property
    def atom_frame(self) -> NDArray[np.int64]:
        """[A] the frame of each atom."""
        return np.repeat(np.arange(len(self.num_atoms)), self.num_atoms)

    @property
    def energy_error(self) -> Array:
        """[F] per atom, eV, of the models' mean."""
        return (self.energy.mean(axis=0) - self.reference_energy) / self.num_atoms

    @property
    def force_error(self) -> Array:
        """[A, 3] eV/Angstrom."""
        return self.forces.mean(axis=0) - self.reference_forces

    @property
    def stress_error(self) -> Array:
        """[F, 3, 3] eV/Angstrom^3."""
        return self.stress.mean(axis=0) - self.reference_stress


def read_frames(paths: Sequence[str], group_key: str | None = None) -> list[Frame]:
    """Frames of files, with their groups.

    Args:
        group_key: the key of ASE's info that names a frame's group; None: the first of GROUP_KEYS that occurs.

    Raises DataError for files without frames, frames without labels, and a group_key that no frame has.
    """
    found = [pair for path in paths for pair in iterate_frames(str(path))]
    if not any(s.energy is not None or s.forces is not None or s.stress is not None for s, _ in found):
        raise DataError(f"{', '.join(map(str, paths))}: none of the {len(found)} frames has energy, forces or stress")
    present = {key for _, info in found for key in info}
    if group_key is not None and group_key not in present:
        raise DataError(
            f"{', '.join(map(str, paths))}: no frame has '{group_key}' to group by; "
            f"found: {', '.join(sorted(present)) or 'nothing'}"
        )
    key = group_key or next((k for k in GROUP_KEYS if k in present), None)
    return [Frame(s, str(info[key]) if key in info else None) for s, info in found]


def predict(committee: Committee, frames: Sequence[Frame]) -> Predictions:
    """Evaluate all frames by all models; raises DataError for a frame that they can't be asked of."""
    structures = [frame.structure for frame in frames]
    types = [find_types(s, committee.type_names) for s in structures]
    shortest = shortest_distances(structures, types, committee.cutoffs)
    results = [list(_results(member, structures)) for member in committee.members]
    shifts = np.array(committee.cards[0]["per_type_shift"])
    return Predictions(
        type_names=committee.type_names,
        sources=tuple(s.source for s in structures),
        groups=tuple(frame.group for frame in frames),
        compositions=tuple(_reduced(s) for s in structures),
        num_atoms=np.array([len(t) for t in types]),
        atom_types=np.concatenate(types),
        shift=np.array([shifts[t].sum() for t in types]),
        reference_energy=np.array([np.nan if s.energy is None else s.energy for s in structures]),
        reference_forces=np.concatenate([_or_nan(s.forces, (len(s.symbols), 3)) for s in structures]),
        reference_stress=np.stack([_or_nan(s.stress, (3, 3)) for s in structures]),
        energy=np.array([[r["energy"] for r in of_model] for of_model in results]),
        forces=np.stack([np.concatenate([r["forces"] for r in of_model]) for of_model in results]),
        stress=np.stack([np.stack([_stress(r) for r in of_model]) for of_model in results]),
        shortest=shortest,
    )


def shortest_distances(structures: Sequence[Structure], types: Sequence[NDArray[np.int64]], cutoffs: Array) -> Array:
    """[T, T], symmetric: the shortest distance of each pair of types, Angstrom; infinite where none is in reach."""
    shortest = np.full(cutoffs.shape, np.inf)
    for structure, t in zip(structures, types, strict=True):
        edges = find_edges(structure, t, cutoffs)
        np.minimum.at(shortest, tuple(t[edges.edge_index]), np.linalg.norm(edges.edge_vectors, axis=1))
    return np.minimum(shortest, shortest.T)


def _results(calculator: Any, structures: Sequence[Structure]) -> Iterator[dict[str, Any]]:
    for structure in structures:
        calculator.calculate(structure.as_atoms())
        yield calculator.results


def _stress(results: dict[str, Any]) -> Array:
    stress = results.get("stress")
    return np.full((3, 3), np.nan) if stress is None else voigt_6_to_full_3x3_stress(stress)


def _or_nan(label: Array | None, shape: tuple[int, ...]) -> Array:
    return np.full(shape, np.nan) if label is None else label


def _reduced(structure: Structure) -> str:
    return str(Formula.from_list(list(structure.symbols)).reduce()[0].convert("hill"))
