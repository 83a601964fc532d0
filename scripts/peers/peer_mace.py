#!/usr/bin/env python3
"""Contestant MACE: random weights, eager or by torch.compile, as its ASE calculator evaluates, less the neighbor list.

MODEL is the irreps of the messages: 128x0e are those of MACE's small models.  Two interactions of r_max 5 Angstrom: an
atom sees 10 Angstrom far.  See contestant.py.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from contestant import request, serve, silicon

R_MAX = 5.0
SILICON = 14


def make_model(irreps: str, neighbors: float) -> torch.nn.Module:
    """The settings that `mace_run_train` has by default, but for irreps and r_max."""
    from e3nn import o3
    from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes

    torch.manual_seed(0)
    return ScaleShiftMACE(
        r_max=R_MAX, num_bessel=8, num_polynomial_cutoff=5, max_ell=3, num_interactions=2, num_elements=1,
        interaction_cls=interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=interaction_classes["RealAgnosticInteractionBlock"],
        hidden_irreps=o3.Irreps(irreps), MLP_irreps=o3.Irreps("16x0e"), gate=gate_dict["silu"], correlation=3,
        atomic_energies=np.zeros((1, 1)), atomic_numbers=[SILICON], avg_num_neighbors=neighbors,
        radial_type="bessel", atomic_inter_scale=0.1, atomic_inter_shift=0.0,
    )  # fmt: skip


def main() -> None:
    mode, irreps, cells, folder = request()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    from ase.neighborlist import neighbor_list
    from mace.calculators import MACECalculator

    atoms = silicon(cells)
    neighbors = len(neighbor_list("i", atoms, R_MAX)) / len(atoms)
    calculator = MACECalculator(
        models=[make_model(irreps, neighbors)], device="cpu", default_dtype="float32",
        compile_mode="default" if mode == "compile" else None, fullgraph=False,
    )  # fmt: skip
    (model,) = calculator.models
    batch = calculator._atoms_to_batch(atoms)  # the neighbor list is made here

    def evaluate() -> None:
        data = calculator._clone_batch(batch).to_dict()
        model(data, compute_stress=True, training=calculator.use_compile)

    serve(evaluate, len(atoms), neighbors)


if __name__ == "__main__":
    main()
