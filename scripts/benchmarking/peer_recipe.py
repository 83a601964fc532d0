"""A recipe of ours in the words of nequip-allegro: what nequip-train has to be told for the same model and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from allegro_dist.config import AllegroConfig, RunConfig, TrainingConfig
from benchmarking.peer_training import transforms

BEST = "best"
CLOCK = "training_clock.TrainingClock"  # scripts/peers/training_clock.py
MONITORED = "val0_epoch/weighted_sum"


def peer_recipe(config: RunConfig, types: Sequence[str], frames: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """nequip-train's configuration.

    Args:
        config: ours; it must stop by the clock (max_minutes).
        types: chemical symbols of the frames.
        frames: files by train, val and test.
        folder: where checkpoints, metrics and the clock's signs go.
    """
    training = config.training
    loader = {"_target_": "torch.utils.data.DataLoader", "batch_size": training.batch_size}
    weights = {"total_energy": training.loss.energy, "forces": training.loss.forces}
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"total_energy_rmse": None, "forces_rmse": 1.0, "forces_mae": None, "total_energy_mae": None},
    }
    return {
        "run": ["train", "test"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": config.seed,
            **{f"{part}_file_path": str(path) for part, path in frames.items()},
            "transforms": transforms(list(types), config.model.r_max),
            "train_dataloader": loader | {"shuffle": True},
            "val_dataloader": loader,
            "test_dataloader": loader,
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "type_names": list(types),
                "dataloader_kwargs": {"batch_size": training.batch_size},
            },
        },
        "trainer": trainer(training, folder),
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": training.ema,
            "loss": {"_target_": "nequip.train.EnergyForceLoss", "per_atom_energy": True, "coeffs": weights},
            "val_metrics": metrics,
            "test_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": training.learning_rate},
            "model": model(config.model, types) | {"seed": config.seed},
        },
    }


def trainer(training: TrainingConfig, folder: Path) -> dict[str, Any]:
    """Lightning's part: the clock lowers the rate and ends the training, as ours does."""
    clock = {
        "_target_": CLOCK,
        "minutes": training.max_minutes,
        "rate": training.learning_rate,
        "warmup": training.schedule.warmup,
        "final": training.schedule.final,
        "folder": str(folder),
    }
    checkpoint = {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": str(folder),
        "filename": BEST,
        "monitor": MONITORED,
    }
    logger = {
        "_target_": "lightning.pytorch.loggers.CSVLogger",
        "save_dir": str(folder),
        "name": None,
        "version": "",
    }
    return {
        "_target_": "lightning.Trainer",
        "accelerator": "cpu",
        "max_epochs": training.max_epochs,
        "num_sanity_val_steps": 0,
        "gradient_clip_val": training.clip_gradient,
        "enable_progress_bar": False,
        "logger": logger,
        "callbacks": [checkpoint, clock],
    }


def model(config: AllegroConfig, types: Sequence[str]) -> dict[str, Any]:
    """The model's part, compiled."""
    return {
        "_target_": "allegro.model.AllegroModel",
        "compile_mode": "compile",
        "model_dtype": config.dtype,
        "type_names": list(types),
        "r_max": config.r_max,
        "l_max": config.l_max,
        "parity": config.parity,
        "num_layers": config.num_layers,
        "num_scalar_features": config.num_scalar_features,
        "num_tensor_features": config.num_tensor_features,
        "radial_chemical_embed": {
            "_target_": "allegro.nn.TwoBodyBesselScalarEmbed",
            "num_bessels": config.num_radial,
            "bessel_trainable": config.bessel_trainable,
            "polynomial_cutoff_p": config.envelope_power,
        },
        "radial_chemical_embed_dim": config.embedding_width,
        "scalar_embed_mlp_hidden_layers_depth": config.two_body_mlp_depth,
        "scalar_embed_mlp_hidden_layers_width": config.two_body_mlp_width,
        "allegro_mlp_hidden_layers_depth": config.latent_mlp_depth,
        "allegro_mlp_hidden_layers_width": config.latent_mlp_width,
        "readout_mlp_hidden_layers_depth": config.readout_mlp_depth,
        "readout_mlp_hidden_layers_width": config.readout_mlp_width,
        "tp_path_channel_coupling": config.path_channel_coupling,
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
        "per_type_energy_scales": "${training_data_stats:forces_rms}",
        "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
    }
