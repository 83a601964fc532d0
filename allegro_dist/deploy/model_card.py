"""The model card: what an archive is, for people and for programs, as JSON."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

from allegro_dist.config import to_dict
from allegro_dist.deploy.archive_file import FORMAT_VERSION
from allegro_dist.potential import Potential, pair_cutoffs
from allegro_dist.versions import versions

UNITS = {"energy": "eV", "length": "Angstrom", "edge_gradient": "eV/Angstrom"}


def make_model_card(potential: Potential, training: dict[str, Any]) -> dict[str, Any]:
    """Describe a potential.

    Args:
        training: where it comes from: data digest, errors, epochs... (plain values).
    """
    used = potential.parameters_used
    cutoffs = pair_cutoffs(used.config, used.type_names)
    return {
        "format_version": FORMAT_VERSION,
        "family": used.config.family,
        "type_names": list(used.type_names),
        "r_max": float(cutoffs.max()),
        "pair_cutoffs": cutoffs.tolist(),
        "num_message_passes": potential.model.num_message_passes,
        "interaction_range": float(cutoffs.max()) * max(1, potential.model.num_message_passes),
        "dtype": used.config.dtype,
        "units": UNITS,
        "config": to_dict(used.config),
        "avg_num_neighbors": list(used.avg_num_neighbors),
        "per_type_scale": potential.scale.tolist(),
        "per_type_shift": potential.shift.tolist(),
        "num_parameters": sum(p.numel() for p in potential.parameters()),
        "weights_sha256": weights_digest(potential),
        "training": training,
        "versions": versions(),
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def weights_digest(potential: Potential) -> str:
    """SHA-256 of all weights in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(potential.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
