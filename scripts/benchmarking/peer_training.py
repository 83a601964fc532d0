"""Models of nequip-allegro, trained for a moment by its own nequip-train: checkpoints that can be imported."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import write

from benchmarking.peers import ENVIRONMENTS, PACKAGES, interpreter

NAME = "nequip-allegro"
NUM_FRAMES = 10
LIGHT = ("C", "Ge", "Si")
BESSEL = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 8}
SPLINE = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 12, "spline_span": 8}
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal"}
CUTOFFS = {"C": 3.5, "Si": {"C": 4.0, "Ge": 4.5}}
WIDTHS = {"num_scalar_features": 64, "num_tensor_features": 32, "num_layers": 2, "l_max": 2}
DEFAULTS: dict[str, Any] = WIDTHS | {
    "_target_": "allegro.model.AllegroModel",
    "r_max": 5.0,
    "model_dtype": "float32",
    "radial_chemical_embed": BESSEL,
}


class PeerModel(NamedTuple):
    """A model of nequip-allegro."""

    options: Mapping[str, Any]
    types: tuple[str, ...] = ("Si",)
    defaults: Mapping[str, Any] = DEFAULTS

    @property
    def r_max(self) -> float:
        return float(self.options.get("r_max", 5.0))


MODELS = {
    "one layer": PeerModel({"l_max": 1, "num_layers": 1}),
    "default": PeerModel({}),
    "default, float64": PeerModel({"model_dtype": "float64"}),
    "l_max 3": PeerModel({"l_max": 3, "model_dtype": "float64"}, LIGHT[:2]),
    "three layers, no parity": PeerModel({"num_layers": 3, "parity": False}, LIGHT[:2]),
    "cutoffs": PeerModel({"per_edge_type_cutoff": CUTOFFS, "r_max": 6.0}, LIGHT),
    "ZBL": PeerModel({"l_max": 1, "pair_potential": ZBL, "model_dtype": "float64"}, LIGHT[1:]),
    "splines, ZBL": PeerModel({"radial_chemical_embed": SPLINE, "pair_potential": ZBL, "num_layers": 3}, LIGHT),
    "other options": PeerModel(
        {
            "radial_chemical_embed": BESSEL | {"polynomial_cutoff_p": 8, "bessel_trainable": True},
            "radial_chemical_embed_dim": 80,
            "pair_potential": ZBL | {"polynomial_cutoff_p": 5.0},
            "per_edge_type_cutoff": CUTOFFS,
            "tp_path_channel_coupling": False,
            "scalar_embed_mlp_hidden_layers_depth": 2,
            "allegro_mlp_nonlinearity": None,
            "readout_mlp_hidden_layers_depth": 0,
            "l_max": 3,
            "parity": False,
            "model_dtype": "float64",
        },
        LIGHT,
    ),
}


def peer_python() -> str:
    """The interpreter of the peer's environment, which is made on first use."""
    return interpreter(NAME, PACKAGES[NAME].requirements)


def peer_is_installed() -> bool:
    return (ENVIRONMENTS / NAME / "ready").exists()


def train(model: PeerModel, folder: Path, epochs: int = 2) -> Path:
    """A checkpoint of the model after a few epochs on Lennard-Jones crystals."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "frames.xyz", [labelled(model.types, seed) for seed in range(NUM_FRAMES)])
    (folder / "config.yaml").write_text(yaml.safe_dump(configuration(model, folder, epochs), sort_keys=False))
    command = train_command(folder)
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)}\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return folder / "best.ckpt"


def train_command(folder: Path) -> list[str]:
    """Of training by FOLDER/config.yaml."""
    program = str(Path(peer_python()).with_name("nequip-train"))
    return [program, "-cp", str(folder), "-cn", "config.yaml", f"hydra.run.dir={folder}/hydra"]


def labelled(types: tuple[str, ...], seed: int) -> Atoms:
    """A crystal of the types at random, with energy and forces of some potential."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", "diamond", a=5.43, cubic=True)
    atoms.symbols[:] = rng.permutation([types[k % len(types)] for k in range(len(atoms))])
    atoms.rattle(0.1, rng=rng)
    atoms.calc = LennardJones(sigma=2.1, epsilon=1.0, rc=5.0)
    atoms.get_forces()
    return atoms


def transforms(types: list[str], r_max: float) -> list[dict[str, Any]]:
    """From ASE's frames to what the model reads."""
    return [
        {"_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper", "model_type_names": types},
        {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": r_max},
    ]


def configuration(model: PeerModel, folder: Path, epochs: int) -> dict[str, Any]:
    """Of nequip-train."""
    types, r_max = list(model.types), model.r_max
    options = {**model.defaults, **model.options}
    if options.get("pair_potential", {}).get("_target_") == ZBL["_target_"]:
        options["pair_potential"] = options["pair_potential"] | {"chemical_species": types}
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": 2}
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": 1,
            "split_dataset": {"file_path": str(folder / "frames.xyz"), "train": NUM_FRAMES - 2, "val": 2},
            "transforms": transforms(types, r_max),
            "train_dataloader": loader,
            "val_dataloader": loader,
            "stats_manager": {"_target_": "nequip.data.CommonDataStatisticsManager", "type_names": types},
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu",
            "max_epochs": epochs,
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "dirpath": str(folder),
                    "filename": "best",
                    "monitor": "val0_epoch/weighted_sum",
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.9,
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "coeffs": {"total_energy": 1.0, "forces": 1.0}},
            "val_metrics": {
                "_target_": "nequip.train.EnergyForceMetrics",
                "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
            },
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.003},
            "model": {
                "seed": 1,
                "type_names": types,
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
                "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
                "per_type_energy_shifts": {name: -3.0 - k for k, name in enumerate(types)},
            }
            | options,
        },
    }
