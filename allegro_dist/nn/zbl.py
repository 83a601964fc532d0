"""Ziegler-Biersack-Littmark screened nuclear repulsion, with LAMMPS's constants (pair_style zbl, units metal)."""

import torch
from torch import Tensor


def zbl_energy(r: Tensor, charge_i: Tensor, charge_j: Tensor) -> Tensor:
    """E(r) = e^2/(4 pi eps0) Z_i Z_j / r sum_k c_k exp(-d_k r / a),  a = 0.4685 / (Z_i^0.23 + Z_j^0.23).

    Args:
        r: [E] lengths, Angstrom.
        charge_i, charge_j: [E] nuclear charges.

    Returns: [E] energy of the pair, eV (not halved).
    """
    # qqr2e of LAMMPS's metal units, eV Angstrom (the constants stand here since TorchScript sees no module globals)
    coulomb = 14.399645
    reduced = r * (charge_i.pow(0.23) + charge_j.pow(0.23)) / 0.46850
    screening = (
        0.02817 * torch.exp(-0.20162 * reduced)
        + 0.28022 * torch.exp(-0.40290 * reduced)
        + 0.50986 * torch.exp(-0.94229 * reduced)
        + 0.18175 * torch.exp(-3.19980 * reduced)
    )
    return coulomb * charge_i * charge_j / r * screening
