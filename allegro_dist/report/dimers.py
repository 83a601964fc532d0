"""Two atoms alone: the model's energy over their distance, beside the screened nuclear repulsion (ZBL)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from allegro_dist.data.structure import Array
from allegro_dist.nn.zbl import zbl_energy
from allegro_dist.report.committee import Committee
from allegro_dist.simulate.calculator import AllegroCalculator

SHORTEST = 0.3
"""Share of the covalent radii's sum at which a curve begins: energies of keV there."""
NUM_POINTS = 241


@dataclass(frozen=True)
class DimerCurve:
    """A pair of types; D distances, K models."""

    pair: str  # "O-Si"
    distances: Array  # [D] Angstrom
    energies: Array  # [K, D] eV, less the isolated atoms'
    zbl: Array | None  # [D] eV, as published, without the model's envelope; None where a type is no element
    zbl_in_model: bool
    shortest_in_data: float | None  # Angstrom; None where the data has no such pair in reach

    @property
    def energy(self) -> Array:
        """[D] eV, the models' mean."""
        return self.energies.mean(axis=0)

    @property
    def hole(self) -> tuple[float, float] | None:
        """(distance, energy) of the lowest point of the curve below the data's shortest distance, if energies there
        fall under the one at that distance: atoms that come so near would be drawn together."""
        if self.shortest_in_data is None:
            return None
        inside = self.distances < self.shortest_in_data
        at_shortest = np.interp(self.shortest_in_data, self.distances, self.energy)
        if not inside.any() or self.energy[inside].min() >= at_shortest:
            return None
        lowest = int(self.energy[inside].argmin())
        return float(self.distances[lowest]), float(self.energy[lowest])


def dimer_curves(committee: Committee, shortest: Array) -> list[DimerCurve]:
    """A curve for each pair of types.

    Args:
        shortest: [T, T] shortest distances in the data, Angstrom; infinite where there is none.
    """
    names = committee.type_names
    return [
        _curve(committee, i, j, float(shortest[i, j])) for i in range(len(names)) for j in range(i, len(names))
    ]  # fmt: skip


def _curve(committee: Committee, i: int, j: int, shortest: float) -> DimerCurve:
    pair = [committee.type_names[t] for t in (i, j)]
    numbers = [atomic_numbers.get(name, 0) for name in pair]
    reach = float(max(committee.cutoffs[i, j], committee.cutoffs[j, i]))
    start = SHORTEST * sum(covalent_radii[z] for z in numbers)
    distances = np.linspace(start, 1.02 * reach, NUM_POINTS)
    return DimerCurve(
        pair="-".join(pair),
        distances=distances,
        energies=np.array([_energies(member, pair, distances) for member in committee.members]),
        zbl=_zbl(distances, numbers) if all(numbers) else None,
        zbl_in_model=all(bool(card["config"].get("zbl")) for card in committee.cards),
        shortest_in_data=shortest if np.isfinite(shortest) else None,
    )


def _energies(calculator: AllegroCalculator, pair: list[str], distances: Array) -> Array:
    """[D] energies of two atoms, less that of each alone: all in one structure, too far apart to feel each other."""
    apart = 2 * calculator.cutoffs.max() * np.arange(len(distances) + 2)
    first = np.stack([apart, np.zeros_like(apart), np.zeros_like(apart)], axis=1)
    second = first[: len(distances)] + distances[:, None] * [0, 0, 1]
    # the last two of the row are the atoms alone
    symbols = [pair[0]] * (len(distances) + 1) + [pair[1]] * (len(distances) + 1)
    calculator.calculate(Atoms(symbols, np.concatenate([first, second])))
    D, energies = len(distances), calculator.results["energies"]
    return energies[:D] + energies[D + 2 :] - energies[D] - energies[D + 1]


def _zbl(distances: Array, numbers: list[int]) -> Array:
    r = torch.from_numpy(distances)
    charges = [torch.full_like(r, float(z)) for z in numbers]
    return zbl_energy(r, *charges).numpy()
