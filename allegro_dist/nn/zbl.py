"""Ziegler-Biersack-Littmark screened nuclear repulsion, with LAMMPS's constants (pair_style zbl, units metal)."""

from __future__ import annotations

import torch
from torch import Tensor

COULOMB = 14.399645  # e^2 / (4 pi eps0), eV Angstrom: qqr2e of LAMMPS's metal units
SCREENING_POWER = 0.23
SCREENING_LENGTH = 0.46850  # Angstrom
AMPLITUDES = (0.02817, 0.28022, 0.50986, 0.18175)
DECAYS = (0.20162, 0.40290, 0.94229, 3.19980)


def zbl_energy(r: Tensor, charge_i: Tensor, charge_j: Tensor) -> Tensor:
    """E(r) = e^2/(4 pi eps0) Z_i Z_j / r sum_k c_k exp(-d_k r / a),  a = 0.4685 / (Z_i^0.23 + Z_j^0.23).

    Args:
        r: [E] lengths, Angstrom.
        charge_i, charge_j: [E] nuclear charges.

    Returns: [E] energy of the pair, eV (not halved).
    """
    reduced = r * (charge_i.pow(SCREENING_POWER) + charge_j.pow(SCREENING_POWER)) / SCREENING_LENGTH
    screening = torch.zeros_like(r)
    for amplitude, decay in zip(AMPLITUDES, DECAYS):  # noqa: B905 (TorchScript)
        screening = screening + amplitude * torch.exp(-decay * reduced)
    return COULOMB * charge_i * charge_j / r * screening
