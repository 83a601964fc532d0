"""The member `weights.safetensors` of an archive: the weights as they are trained, for fine-tuning.

The frozen module has them folded into constants, and the engine's program has them merged: neither gives them back.
"""

from __future__ import annotations

from typing import Any

from safetensors.torch import load, save

from allegro_dist.config import AllegroConfig, from_dict
from allegro_dist.potential import Potential, build_potential


def write_weights(potential: Potential) -> bytes:
    """The member's content."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in potential.state_dict().items()})


def read_potential(card: dict[str, Any], content: bytes) -> Potential:
    """The potential of an archive, in eval mode.

    Args:
        card: the model card, from which it is built.
        content: the member.
    """
    names = ("type_names", "avg_num_neighbors", "per_type_scale", "per_type_shift")
    config = from_dict(AllegroConfig, card["config"], "model card")
    potential = build_potential(config, **{name: card[name] for name in names})
    potential.load_state_dict(load(content))
    return potential.eval()
