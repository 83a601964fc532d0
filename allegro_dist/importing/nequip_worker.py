"""Reads a trained model of nequip-allegro, and evaluates it: a program for the Python that has nequip, not for ours.

    PYTHON nequip_worker.py FILE FOLDER

FILE is a checkpoint (.ckpt) or a package (.nequip.zip).  Written to FOLDER:

    model.json      what the model is made of, or {"refused": why}; importing/nequip_allegro.py says what the names mean
    weights.npz     its weights in float64, constant factors multiplied in
    reference.npz   random structures with what the package's own ASE calculator gives for them

Nothing is judged here beyond finding the parts: what we can run, allegro_dist knows.  No import of allegro_dist, numpy
files only: that Python need not have anything of ours.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper

try:
    from nequip.integrations.ase import NequIPCalculator
except ModuleNotFoundError:  # nequip before 0.18
    from nequip.ase import NequIPCalculator

PARTS = (
    "edge_norm", "radial_chemical_embed", "scalar_embed_mlp", "tensor_embed", "allegro", "edge_readout",
    "edge_eng_sum", "per_type_energy_scale_shift", "total_energy_sum",
)  # fmt: skip
OPTIONAL_PARTS = ("cutoff", "pair_potential")
SIZES = (12, 20, 28)  # atoms of the periodic structures; one that isn't periodic is as large as the last
CLOSEST = 0.7  # distance of atoms in units of the cube root of the volume per atom

Module = Any
"""A module of nequip's or nequip-allegro's."""
Arrays = dict[str, Any]
"""numpy arrays by name."""


class RefusedError(Exception):
    """A model that isn't made of Allegro's parts."""


def array(tensor: Any) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


def name_of(module: Module) -> str:
    """Class of a module, also where TorchScript has wrapped it."""
    return str(getattr(module, "original_name", type(module).__name__))


def energy_parts(graph_model: Module) -> dict[str, Module]:
    """The modules that make the energy, by name."""
    sequence = getattr(graph_model.model, "func", graph_model.model)
    parts = dict(sequence.named_children())
    missing = [name for name in PARTS if name not in parts]
    unknown = [name for name in parts if name not in PARTS + OPTIONAL_PARTS]
    if missing or unknown:
        differences = (["lacks " + ", ".join(missing)] if missing else []) + (
            ["has " + ", ".join(f"{name} ({name_of(parts[name])})" for name in unknown)] if unknown else []
        )
        raise RefusedError(f"not an energy model of nequip-allegro's AllegroModel: it {' and '.join(differences)}")
    return parts


class Reader:
    """Collects weights by name, and the facts that say how they are used."""

    def __init__(self) -> None:
        self.weights: Arrays = {}
        self.activations: dict[str, list[str]] = {}
        self.biases: list[str] = []

    def read_mlp(self, name: str, mlp: Module) -> None:
        """Matrices name.0, name.1, ... with an activation after each but the last; linear ones in a row are merged."""
        matrices: list[np.ndarray] = []
        activations: list[str] = []
        if hasattr(mlp, "weights"):  # nequip's class of layers without activation
            factors = [array(weight) for weight in mlp.weights]
            matrices = [np.linalg.multi_dot(factors) * float(mlp.alpha)]
        else:
            for layer in mlp:
                if hasattr(layer, "weight"):
                    matrix = array(layer.weight) * float(layer.alpha)
                    linear = len(matrices) > len(activations)
                    matrices[len(activations) :] = [matrices[-1] @ matrix if linear else matrix]
                    if layer.bias is not None:
                        self.biases.append(name)
                elif name_of(layer) != "Identity":
                    activations.append(name_of(layer))
        self.weights |= {f"{name}.{k}": matrix for k, matrix in enumerate(matrices)}
        self.activations[name] = activations

    def read_embedding(self, module: Module) -> dict[str, Any]:
        if name_of(module) == "TwoBodySplineScalarEmbed":
            spline = module.spline
            self.weights["spline"] = array(spline.class_embed.weight).reshape(
                -1, spline.num_channels, spline.num_splines
            )
            return {"class": name_of(module), "num_radial": spline.num_splines, "span": spline.spline_span}
        parts = dict(module.named_children())
        if list(parts) != ["bessel_encode", "type_embed"]:
            return {"class": name_of(module)}
        bessel, types = parts["bessel_encode"], parts["type_embed"]
        self.weights["wavenumbers"] = array(bessel.bessel_weights).reshape(-1)
        self.weights["center"] = array(types.center_embed.weight)
        self.weights["neighbor"] = array(types.neighbor_embed.weight)
        self.read_mlp("mix", types.basis_linear.mlp)
        return {
            "class": "TwoBodyBesselScalarEmbed",
            "num_radial": bessel.num_bessels,
            "trainable": bool(bessel.trainable),
            "envelope_power": float(bessel.cutoff.p),
        }


def describe(graph_model: Module) -> tuple[dict[str, Any], Arrays]:
    """Facts and weights of a model."""
    parts = energy_parts(graph_model)
    reader = Reader()
    embedding = reader.read_embedding(parts["radial_chemical_embed"])
    tensor, allegro, reduce = parts["tensor_embed"], parts["allegro"], parts["edge_eng_sum"]
    reader.read_mlp("two_body", parts["scalar_embed_mlp"].mlp_module.mlp)
    reader.read_mlp("tensor", tensor.env_embed_linear.mlp)
    reader.read_mlp("start", allegro.first_layer_env_embed_projection.mlp)
    for k, (latent, product) in enumerate(zip(allegro.latents, allegro.tps)):
        reader.read_mlp(f"latents.{k}", latent.mlp)
        reader.weights[f"products.{k}"] = array(product.weights)
    reader.read_mlp("readout", parts["edge_readout"].mlp_module.mlp)

    scale_shift = parts["per_type_energy_scale_shift"]
    if hasattr(allegro, "avg_num_neighbors_norm"):
        norms = (array(allegro.avg_num_neighbors_norm.norm_const), array(reduce.norm_module.norm_const) / math.sqrt(2))
    else:  # nequip-allegro before 0.8
        norms = (np.array(allegro.tps[0].scatter_factor), np.array(reduce._factor))
    reader.weights |= {
        "environment_norm": norms[0].reshape(-1),
        "energy_norm": norms[1].reshape(-1),
        "scale": array(scale_shift.scales).reshape(-1) if scale_shift.has_scales else np.ones(1),
        "shift": array(scale_shift.shifts).reshape(-1) if scale_shift.has_shifts else np.zeros(1),
    }
    metadata = graph_model.metadata
    type_names, r_max = metadata["type_names"].split(" "), float(metadata["r_max"])
    cutoffs = metadata.get("per_edge_type_cutoff") or " ".join([metadata["r_max"]] * len(type_names) ** 2)
    facts = {
        "versions": {name: version(name) for name in ("nequip", "nequip-allegro", "torch")},
        "dtype": metadata["model_dtype"],
        "type_names": type_names,
        "r_max": r_max,
        "cutoffs": np.array(cutoffs.split(), dtype=float).reshape(len(type_names), -1).tolist(),
        "embedding": embedding,
        "activations": reader.activations,
        "biases": reader.biases,
        "num_scalar_features": allegro.num_scalar_features,
        "num_tensor_features": allegro.num_tensor_features,
        "irreps": [[str(i) for i in (p.irreps_in1, p.irreps_in2, p.irreps_out)] for p in allegro.tps],
        "path_channel_coupling": bool(allegro.tps[0].path_channel_coupling),
        "train_scale_shift": bool(scale_shift.scales_trainable or scale_shift.shifts_trainable),
        "pair_potential": describe_pair_potential(parts),
    }
    return facts, reader.weights


def describe_pair_potential(parts: dict[str, Module]) -> dict[str, Any] | None:
    if "pair_potential" not in parts:
        return None
    module = parts["pair_potential"]
    facts: dict[str, Any] = {"class": name_of(module)}
    if name_of(module) == "ZBL":
        facts["charges"] = array(module.atomic_numbers).tolist()
        facts["prefactor"] = float(module._qqr2exesquare)
        if hasattr(module, "cutoff"):
            facts["envelope_power"] = float(module.cutoff.p)
        else:  # earlier versions: the envelope of the edges
            owner = parts["cutoff"] if "cutoff" in parts else parts["radial_chemical_embed"].bessel_encode
            facts["envelope_power"] = float(owner.cutoff.p)
    return facts


def random_structures(num_types: int, volume_per_atom: float, symbols: list[str]) -> Iterator[Atoms]:
    """Triclinic crystals of random atoms, and a cluster; every type is in each."""
    rng = np.random.default_rng(1)
    for size, periodic in [*((size, True) for size in SIZES), (SIZES[-1], False)]:
        num_atoms = max(size, 2 * num_types)
        edge, closest = (volume_per_atom * num_atoms) ** (1 / 3), CLOSEST * volume_per_atom ** (1 / 3)
        cell = edge * (np.eye(3) + rng.uniform(-0.15, 0.15, (3, 3)))
        cell *= edge / abs(np.linalg.det(cell)) ** (1 / 3)
        atoms = Atoms(symbols[0], [np.zeros(3)], cell=cell, pbc=periodic)
        while len(atoms) < num_atoms:
            trial = atoms + Atoms(symbols[len(atoms) % num_types], [rng.uniform(size=3) @ cell])
            if trial.get_distances(-1, range(len(atoms)), mic=periodic).min() > closest:
                atoms = trial
            else:
                closest *= 0.999  # crowded: let atoms come a little closer rather than search for ever
        if not periodic:
            atoms.cell = None
        yield atoms


def evaluate(calculator: NequIPCalculator, structures: list[Atoms], symbols: list[str]) -> Arrays:
    """Inputs and results of structure k as k.name."""
    results: Arrays = {}
    for k, atoms in enumerate(structures):
        calculator.calculate(atoms)
        found = {name: np.asarray(calculator.results[name], dtype=np.float64) for name in ("energies", "forces")}
        if atoms.pbc.all():
            found["stress"] = np.asarray(calculator.results["stress"], dtype=np.float64)
        inputs = {
            "positions": atoms.positions,
            "cell": atoms.cell.array,
            "pbc": atoms.pbc,
            "types": np.array([symbols.index(s) for s in atoms.get_chemical_symbols()]),
        }
        results |= {f"{k}.{name}": value for name, value in (inputs | found).items()}
    return results


def main() -> None:
    file, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    calculator = NequIPCalculator._from_saved_model(file, device="cpu", chemical_species_to_atom_type_map={})
    try:
        facts, weights = describe(calculator.model)
    except RefusedError as error:
        (folder / "model.json").write_text(json.dumps({"refused": str(error)}))
        return
    names = facts["type_names"]
    symbols = chemical_symbols[1 : 1 + len(names)]  # of no meaning: the calculator wants some element for each type
    calculator.transforms[0] = ChemicalSpeciesToAtomTypeMapper(names, dict(zip(symbols, names)))
    neighbors = float(np.clip(np.mean(weights["environment_norm"] ** -2), 4, 100))
    volume = 4 / 3 * math.pi * facts["r_max"] ** 3 / neighbors
    structures = list(random_structures(len(names), volume, symbols))
    (folder / "model.json").write_text(json.dumps(facts))
    np.savez(folder / "weights.npz", **weights)
    np.savez(folder / "reference.npz", **evaluate(calculator, structures, symbols))


if __name__ == "__main__":
    main()
