#!/usr/bin/env python3
"""Contestant nequip-allegro: that package's model of the same settings, eager or by AOTInductor (see contestant.py).

MODEL is one of those below, or a checkpoint.  AOTInductor compiles for minutes, the first time only.
"""

from __future__ import annotations

from pathlib import Path

import torch
from allegro.model import AllegroModel
from contestant import request, serve, silicon
from nequip.data.ase import from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.integrations.utils import basic_transforms
from nequip.model.saved_models import load_saved_model
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from nequip.utils.aot import aot_export_model
from nequip.utils.global_state import set_global_state

MODELS = {
    "s5": {"type_names": ["Si"], "r_max": 5.0, "l_max": 2, "num_tensor_features": 32, "width": 64},
    "big": {"type_names": ["Si"], "r_max": 5.0, "l_max": 3, "num_tensor_features": 64, "width": 128},
    "three": {"type_names": ["C", "Ge", "Si"], "r_max": 6.0, "l_max": 2, "num_tensor_features": 32, "width": 64},
}


def make_model(type_names: list[str], r_max: float, l_max: int, num_tensor_features: int, width: int, neighbors: float):
    return AllegroModel(
        seed=0, model_dtype="float32", compile_mode="eager", r_max=r_max, type_names=type_names, parity=True,
        l_max=l_max, num_layers=2, num_scalar_features=width, num_tensor_features=num_tensor_features,
        avg_num_neighbors=neighbors,
        radial_chemical_embed={"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8},
        scalar_embed_mlp_hidden_layers_depth=1, scalar_embed_mlp_hidden_layers_width=width,
        allegro_mlp_hidden_layers_depth=1, allegro_mlp_hidden_layers_width=width,
        readout_mlp_hidden_layers_depth=1, readout_mlp_hidden_layers_width=width // 2,
    ).eval()  # fmt: skip


def compiled(model: torch.nn.Module, data: dict, path: Path):
    """The model as AOTInductor's package at `path`, made if it is not there, over the inputs of LAMMPS's pair style."""
    import allegro._compile  # noqa: F401 (registers the target)

    target = COMPILE_TARGET_DICT["pair_allegro" if "pair_allegro" in COMPILE_TARGET_DICT else "pair_nequip"]
    data = target["data_settings"](data)
    if not path.exists():
        sizes = {k: torch.export.dynamic_shapes.Dim(f"num_{k}s", min=2, max=2**30) for k in ("graph", "node", "edge")}
        sizes, unfinished = target["batch_map_settings"](sizes), path.with_name(f"new-{path.name}")
        aot_export_model(model, "cpu", target["input"], target["output"], data, sizes, str(unfinished))
        unfinished.rename(path)
    package = torch._inductor.aoti_load_package(str(path))
    inputs = [data[key] for key in target["input"]]
    return lambda: package(inputs)


def main() -> None:
    mode, name, cells, folder = request()
    torch.set_num_threads(1)
    set_global_state(allow_tf32=False)
    if name.endswith(".ckpt"):
        model = load_saved_model(name).eval()
        type_names, r_max = model.metadata["type_names"].split(" "), float(model.metadata["r_max"])
        transforms = basic_transforms(model.metadata, r_max, type_names, {t: t for t in type_names})
        name = Path(name).parent.name
    else:
        type_names, r_max, model = MODELS[name]["type_names"], MODELS[name]["r_max"], None
        transforms = (ChemicalSpeciesToAtomTypeMapper(type_names), NeighborListTransform(r_max=r_max))
    atoms = silicon(cells, type_names)
    data = from_ase(atoms)
    for transform in transforms:
        data = transform(data)
    neighbors = data["edge_index"].shape[1] / len(atoms)
    model = model or make_model(**MODELS[name], neighbors=neighbors)
    if mode == "aotinductor":
        evaluate = compiled(model, data, folder / f"{name}.nequip.pt2")
    else:
        evaluate = lambda: model(dict(data))  # noqa: E731
    serve(evaluate, len(atoms), neighbors)


if __name__ == "__main__":
    main()
