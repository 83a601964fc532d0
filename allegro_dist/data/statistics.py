"""Statistics of the training frames that a potential is built with; a value that the configuration gives is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from allegro_dist.config import ConfigError, ModelConfig
from allegro_dist.data.frames import FrameSet, Graphs
from allegro_dist.data.isolated import FAR
from allegro_dist.data.structure import Array, DataError, Structure


class Statistics(NamedTuple):
    """What build_potential takes, one value for each of the T types."""

    type_names: tuple[str, ...]
    avg_num_neighbors: tuple[float, ...]
    per_type_scale: tuple[float, ...]  # eV
    per_type_shift: tuple[float, ...]  # eV


def compute_statistics(
    config: ModelConfig,
    type_names: Sequence[str],
    frames: FrameSet,
    graphs: Graphs,
    isolated: Sequence[Structure] = (),
) -> Statistics:
    """Statistics of training frames and their graphs for the types of a model.

    Args:
        isolated: single-atom frames, for per_type_shift: isolated_atoms; isolated atoms among `frames` count too.
    """
    num_types = len(type_names)
    neighbors, scale, shift = config.avg_num_neighbors, config.per_type_scale, config.per_type_shift
    if isinstance(neighbors, str):
        avg = average_neighbors(graphs, num_types, per_type=neighbors == "per_type")
    else:
        avg = _given("avg_num_neighbors", neighbors, type_names)
    scales = (force_rms(frames),) * num_types if scale == "force_rms" else _given("per_type_scale", scale, type_names)
    if shift == "least_squares":
        shifts = least_squares_shift(*_compositions(frames, type_names))
    elif shift == "isolated_atoms":
        said = {s.symbols[0]: s.energy for s in reversed(isolated) if len(s.symbols) == 1 and s.energy is not None}
        given = frames.isolated_energies() | said
        shifts = isolated_shift(*_compositions(frames, type_names), _isolated(given, type_names))
    else:
        shifts = _given("per_type_shift", shift, type_names)
    return Statistics(tuple(type_names), avg, scales, shifts)


def average_neighbors(graphs: Graphs, num_types: int, *, per_type: bool) -> tuple[float, ...]:
    """[T] mean number of edges of a center: of all, or of each type; counted in integers.

    A type without any neighbor (isolated atoms only) gets the mean of all, and data without edges 1.
    """
    atoms, edges = graphs.neighbor_counts(num_types)
    mean = int(edges.sum()) / int(atoms.sum()) if edges.any() else 1.0
    if not per_type:
        return (mean,) * num_types
    return tuple(int(e) / int(a) if e else mean for e, a in zip(edges, atoms, strict=True))


def force_rms(frames: FrameSet) -> float:
    """Root mean square of the force components, eV/Angstrom; times 1 Angstrom it is the energy scale, eV."""
    total, num_components = frames.force_squares()
    rms = float(np.sqrt(total / num_components)) if num_components else 0.0
    if not rms > 0:
        raise DataError("per_type_scale: force_rms needs training frames with forces that are not all zero")
    return rms


def least_squares_shift(counts: Array, energies: Array) -> tuple[float, ...]:
    """[T] shifts that fit the energies per atom best.

    Args:
        counts: [F, T] atoms of each type in each frame.
        energies: [F] eV.

    Where the compositions leave shifts undetermined (all frames alike, say), those nearest to equal are taken: the
    mean energy per atom is subtracted first, and the rest is the minimum-norm solution.
    """
    num_atoms = counts.sum(1)
    per_atom = energies / num_atoms
    mean = float(per_atom.mean())
    rest = np.linalg.lstsq(counts / num_atoms[:, None], per_atom - mean, rcond=1e-6)[0]
    return tuple(float(mean + r) for r in rest)


def isolated_shift(counts: Array, energies: Array, isolated: Array) -> tuple[float, ...]:
    """[T] energies of isolated atoms [T] plus the mean, per atom, of what they leave of the energies [F]."""
    remainder = float((energies - counts @ isolated).sum() / counts.sum())
    return tuple(float(e) + remainder for e in isolated)


def _compositions(frames: FrameSet, type_names: Sequence[str]) -> tuple[Array, Array]:
    """counts [F, T] and energies [F] of the frames with energies."""
    energies = frames.energies
    labelled = ~np.isnan(energies)
    if not labelled.any():
        raise DataError("per_type_shift needs training frames with energies")
    return frames.compositions(type_names)[labelled], energies[labelled]


def _isolated(found: dict[str, float], type_names: Sequence[str]) -> Array:
    """[T] energies of single atoms."""
    missing = [name for name in type_names if name not in found]
    if missing:
        raise DataError(
            f"per_type_shift: isolated_atoms: no single-atom frame of {', '.join(missing)} in data.isolated_atoms, "
            f"nor among the training frames (there, one without an image within {FAR:g} A)"
        )
    return np.array([found[name] for name in type_names], dtype=np.float64)


def _given(key: str, value: float | dict[str, float], type_names: Sequence[str]) -> tuple[float, ...]:
    if not isinstance(value, dict):
        return (float(value),) * len(type_names)
    if set(value) != set(type_names):
        raise ConfigError(f"model.{key}: expected a value for each of {', '.join(type_names)}, got {', '.join(value)}")
    return tuple(float(value[name]) for name in type_names)
