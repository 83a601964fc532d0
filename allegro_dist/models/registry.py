"""Model families by the name that configurations use; a new family is one file and one line here."""

from collections.abc import Callable, Sequence

from torch import Tensor

from allegro_dist.config import ConfigError, ModelConfig
from allegro_dist.models.allegro import Allegro
from allegro_dist.models.allegro_2022 import Allegro2022
from allegro_dist.models.base import InteratomicModel

FAMILIES: dict[str, Callable[[ModelConfig, Tensor, Sequence[float]], InteratomicModel]] = {
    "allegro": Allegro,
    "allegro-2022": Allegro2022,
}


def build_model(config: ModelConfig, cutoffs: Tensor, avg_num_neighbors: Sequence[float]) -> InteratomicModel:
    """A model with fresh weights from torch's generator, in torch's default dtype."""
    if config.family not in FAMILIES:
        raise ConfigError(f"model.family: expected one of {', '.join(FAMILIES)}, got '{config.family}'")
    return FAMILIES[config.family](config, cutoffs, avg_num_neighbors)
