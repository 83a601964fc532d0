#!/usr/bin/env python3
"""A contestant of scripts/benchmark.py: nequip-allegro's model of the same settings, run by an environment of its own.

    python scripts/peer_nequip_allegro.py eager|aotinductor s5|big|three CELLS

Prints a line when ready (AOTInductor compiles for minutes); then, for each line read, evaluates energies, forces and
virial of a diamond crystal of 8 CELLS^3 atoms a few times and prints atom-steps per second.  Neighbor lists are made
once, before; one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time

import torch
from allegro.model import AllegroModel
from ase.build import bulk
from nequip.data.ase import from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
from nequip.utils.aot import aot_export_model
from nequip.utils.global_state import set_global_state

REPEATS = 3
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


def main() -> None:
    mode, name, cells = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    set_global_state(allow_tf32=False)
    settings = MODELS[name]
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(cells)
    atoms.symbols[:] = [settings["type_names"][k % len(settings["type_names"])] for k in range(len(atoms))]
    atoms.rattle(0.05, seed=1)
    data = from_ase(atoms)
    for transform in (
        ChemicalSpeciesToAtomTypeMapper(settings["type_names"]), NeighborListTransform(r_max=settings["r_max"])
    ):  # fmt: skip
        data = transform(data)
    model = make_model(**settings, neighbors=data["edge_index"].shape[1] / len(atoms))
    if mode == "aotinductor":
        import allegro._compile  # noqa: F401 (registers the target)

        target = COMPILE_TARGET_DICT["pair_allegro" if "pair_allegro" in COMPILE_TARGET_DICT else "pair_nequip"]
        dims = {k: torch.export.dynamic_shapes.Dim(f"num_{k}s", min=2, max=2**30) for k in ("graph", "node", "edge")}
        dims, data = target["batch_map_settings"](dims), target["data_settings"](data)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/model.nequip.pt2"
            aot_export_model(model, "cpu", target["input"], target["output"], data, dims, path)
            compiled = torch._inductor.aoti_load_package(path)
        inputs = [data[key] for key in target["input"]]

        def evaluate() -> None:
            compiled(inputs)
    else:

        def evaluate() -> None:
            model(dict(data))

    evaluate()
    print(f"ready: {data['edge_index'].shape[1] / len(atoms):.1f} neighbors", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(REPEATS):
            evaluate()
        print(REPEATS * len(atoms) / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
