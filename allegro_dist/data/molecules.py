"""Molecules from npz files, as MD17 and revised MD17 are given: arrays over frames of one molecule."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.data import chemical_symbols

from allegro_dist.data.structure import Array, DataError, Structure

NAMES = {
    "numbers": ("nuclear_charges", "atomic_numbers", "numbers", "z"),
    "positions": ("coords", "positions", "R"),
    "energies": ("energies", "energy", "E"),
    "forces": ("forces", "F"),
}
"""What the arrays may be called, revised MD17's names first."""


def read_npz(path: str) -> Iterator[Structure]:
    """Frame after frame, in the file's own units (those of both MD17s are kcal/mol and Angstrom).

    Arrays: numbers [N], positions [F, N, 3], energies [F] or [F, 1], forces [F, N, 3]; the last two may be missing.
    Raises DataError for other shapes and for what is not finite.
    """
    arrays = _arrays(path)
    numbers, positions = arrays.get("numbers"), arrays.get("positions")
    if numbers is None or positions is None:
        raise DataError(f"{path}: expected arrays of atomic numbers and positions, named {_expected()}")
    symbols = tuple(chemical_symbols[int(z)] for z in numbers.reshape(-1))
    if positions.ndim != 3 or positions.shape[1:] != (len(symbols), 3):
        raise DataError(f"{path}: positions: expected shape [F, {len(symbols)}, 3], got {list(positions.shape)}")
    num_frames = len(positions)
    forces = _of_frames(path, arrays, "forces", (num_frames, len(symbols), 3))
    energies = _of_frames(path, arrays, "energies", (num_frames,))
    nowhere = np.zeros((3, 3))
    for n in range(num_frames):
        yield Structure(
            symbols=symbols,
            positions=np.array(positions[n], dtype=np.float64),
            cell=nowhere,
            pbc=(False, False, False),
            energy=None if energies is None else float(energies[n]),
            forces=None if forces is None else np.array(forces[n], dtype=np.float64),
            stress=None,
            source=f"{path}, frame {n}",
        )


def _arrays(path: str) -> dict[str, Array]:
    try:
        with np.load(path) as file:
            found = {ours: next((n for n in names if n in file.files), None) for ours, names in NAMES.items()}
            return {ours: file[name] for ours, name in found.items() if name}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: numpy can't read it: {error}") from error


def _of_frames(path: str, arrays: dict[str, Array], name: str, shape: tuple[int, ...]) -> Array | None:
    """An array over frames in its expected shape; None where the file has none."""
    if name not in arrays:
        return None
    array = arrays[name]
    if array.size != np.prod(shape):
        raise DataError(f"{path}: {name}: expected shape {list(shape)}, got {list(array.shape)}")
    array = array.reshape(shape)
    finite = np.isfinite(array).reshape(len(array), -1).all(1)
    if not finite.all():
        raise DataError(f"{path}, frame {int(np.argmin(finite))}: {name} not finite")
    return array


def _expected() -> str:
    return "; ".join(f"{ours}: {' or '.join(names)}" for ours, names in NAMES.items())
