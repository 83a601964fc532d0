"""Which frames a set leaves out: extreme forces, copies of frames, and energies that do not belong."""

from __future__ import annotations

import hashlib

import numpy as np

from allegro_dist.data.structure import Array, Structure

SAME_PLACE = 1e-4
"""Angstrom to which positions and cell vectors are compared: what text files usually keep."""
NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


def largest_force(structure: Structure) -> float:
    """The largest force on an atom, eV/Angstrom; 0 without forces."""
    if structure.forces is None:
        return 0.0
    return float(np.sqrt((structure.forces**2).sum(1).max()))


def geometry_key(structure: Structure) -> bytes:
    """Equal for frames with the same atoms, in the same order, at the same places in the same cell."""
    places = [np.rint(x / SAME_PLACE).astype(np.int64) for x in (structure.positions, structure.cell)]
    named = repr((structure.symbols, structure.pbc)).encode()
    return hashlib.blake2b(named + b"".join(p.tobytes() for p in places), digest_size=16).digest()


def energy_deviations(compositions: Array, energies: Array) -> Array:
    """[F] how far each energy per atom is from what its composition lets expect, in robust standard deviations.

    Args:
        compositions: [F, T] atoms of each type.
        energies: [F] eV; where not a number, the deviation is 0.

    Expected is the least-squares fit over compositions, repeated without frames beyond 5 deviations until none leaves;
    the deviation is that of the median absolute one. Frames of a composition that is rare are not judged by the others'
    spread alone: 0.1 meV/atom counts as no deviation.
    """
    has_energy = ~np.isnan(energies)
    num_atoms = compositions.sum(1)
    shares, per_atom = compositions / num_atoms[:, None], energies / num_atoms
    used, deviations = has_energy.copy(), np.zeros(len(energies))
    for _ in range(20):
        center = np.median(per_atom[used]) if used.any() else 0.0
        fit = np.linalg.lstsq(shares[used], per_atom[used] - center, rcond=1e-6)[0]
        rest = per_atom - center - shares @ fit
        middle = np.median(rest[used]) if used.any() else 0.0
        spread = max(NORMAL * float(np.median(np.abs(rest[used] - middle))) if used.any() else 0.0, 1e-4)
        deviations = np.where(has_energy, np.abs(rest - middle) / spread, 0.0)
        kept = has_energy & (deviations < 5)
        if (kept == used).all():
            break
        used = kept
    return deviations
