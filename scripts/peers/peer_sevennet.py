#!/usr/bin/env python3
"""Contestant SevenNet, eager, as its ASE calculator evaluates, less the neighbor list.

MODEL is 7net-0, which the package ships (5 layers, r_max 5 Angstrom), or small: random weights, 2 layers, 32 channels,
l_max 2, r_max 5 Angstrom.  See contestant.py.
"""

from __future__ import annotations

import warnings

import torch
from contestant import request, serve, silicon


def make_model() -> torch.nn.Module:
    from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
    from sevenn.model_build import build_E3_equivariant_model
    from sevenn.util import chemical_species_preprocess

    torch.manual_seed(0)
    config = DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG | chemical_species_preprocess(["Si"])
    config |= {"cutoff": 5.0, "channel": 32, "lmax": 2, "num_convolution_layer": 2, "conv_denominator": 28.0}
    config |= {"shift": 0.0, "scale": 0.1, "train_shift_scale": False, "train_denominator": False, "version": "0"}
    return build_E3_equivariant_model(config)


def main() -> None:
    _, name, cells, _ = request()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    from sevenn.atom_graph_data import AtomGraphData
    from sevenn.calculator import SevenNetCalculator
    from sevenn.train.dataload import unlabeled_atoms_to_graph

    if name == "small":
        calculator = SevenNetCalculator(make_model(), file_type="model_instance", device="cpu")
    else:
        calculator = SevenNetCalculator(name, device="cpu")
    atoms = silicon(cells)
    graph = unlabeled_atoms_to_graph(atoms, calculator.cutoff, with_shift=False)  # the neighbor list is made here
    data = AtomGraphData.from_numpy_dict(graph)
    neighbors = data["edge_index"].shape[1] / len(atoms)
    serve(lambda: calculator.model(data.clone()), len(atoms), neighbors)


if __name__ == "__main__":
    main()
