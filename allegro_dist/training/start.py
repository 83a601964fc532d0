"""Fine-tuning: the first weights, scales and shifts of a run from a trained potential, for the same types or more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Literal

import torch
from torch import nn

from allegro_dist.config import ConfigError, ModelConfig, RunConfig
from allegro_dist.data.frames import Graphs
from allegro_dist.data.statistics import Statistics
from allegro_dist.potential import Potential, build_potential, pair_cutoffs
from allegro_dist.training.distributed import Ranks
from allegro_dist.training.fused_step import make_evaluator
from allegro_dist.training.prediction import Evaluator
from allegro_dist.training.refit import scale_factor, shift_changes

LoadPotential = Callable[[str, Literal["best", "last"]], Potential]
"""What reads the potential of a run folder or an archive."""

MAY_DIFFER = (
    "type_names", "r_max", "pair_cutoffs", "avg_num_neighbors", "per_type_scale", "per_type_shift", "train_scale_shift",
    "bessel_trainable", "zbl", "dtype",
)  # fmt: skip
"""Keys of the model that a fine-tuned one may have otherwise; under another of the rest, weights mean nothing. (r_max
and pair_cutoffs are compared as the cutoffs of the known types.)"""


def start_types(source: Potential, found: Sequence[str]) -> tuple[str, ...]:
    """The source's types, then the others that the data have."""
    known = source.parameters_used.type_names
    return (*known, *(name for name in found if name not in known))


def first_potential(
    config: RunConfig, statistics: Statistics, source: Potential | None, graphs: Graphs, ranks: Ranks
) -> tuple[Potential, Statistics]:
    """The potential that a run begins with, and the statistics that it is built with.

    Without a source, its weights are drawn by config.seed.  With one they are the source's, but for types that it
    lacks; scales and shifts are refitted where config.start asks for it, shifts of new types always.

    Args:
        statistics: of the training frames.
        graphs: the training frames.
    """

    def built() -> Potential:
        torch.manual_seed(config.seed)
        potential = build_potential(config.model, **statistics._asdict())
        if source is not None:
            copy_weights(source, potential)
        return potential

    def evaluated() -> tuple[Potential, Evaluator]:
        potential = built().to(ranks.device).eval()
        return potential, make_evaluator(potential, config.training.step, ranks.device, config.training.threads)

    if source is None:
        return built(), statistics
    check_same_model(source, config.model, statistics.type_names)
    statistics = inherit_statistics(source, config.model, statistics)
    if config.start.refit_scale:
        factor = scale_factor(*evaluated(), graphs, ranks)
        statistics = statistics._replace(per_type_scale=tuple(factor * s for s in statistics.per_type_scale))
    known = source.parameters_used.type_names
    free = [config.start.refit_shifts or name not in known for name in statistics.type_names]
    if any(free):
        changes = shift_changes(evaluated()[1], graphs, free, ranks)
        shifts = tuple(s + c for s, c in zip(statistics.per_type_shift, changes, strict=True))
        statistics = statistics._replace(per_type_shift=shifts)
    return built(), statistics


def inherit_statistics(source: Potential, config: ModelConfig, from_data: Statistics) -> Statistics:
    """Those of the source for the types that it knows, the data's for others; numbers that `config` gives are taken.

    A source that normalizes the neighbor sums of all types alike lends its number to new types, too.
    """
    used = source.parameters_used
    known = {name: t for t, name in enumerate(used.type_names)}

    def joined(setting: object, old: Sequence[float], new: Sequence[float]) -> tuple[float, ...]:
        if not isinstance(setting, str):
            return tuple(new)
        return tuple(old[known[n]] if n in known else v for n, v in zip(from_data.type_names, new, strict=True))

    neighbors = from_data.avg_num_neighbors
    if config.avg_num_neighbors == "auto" and len(set(used.avg_num_neighbors)) == 1:
        neighbors = used.avg_num_neighbors[:1] * len(from_data.type_names)
    return Statistics(
        from_data.type_names,
        joined(config.avg_num_neighbors, used.avg_num_neighbors, neighbors),
        joined(config.per_type_scale, source.scale.tolist(), from_data.per_type_scale),
        joined(config.per_type_shift, source.shift.tolist(), from_data.per_type_shift),
    )


def check_same_model(source: Potential, config: ModelConfig, type_names: Sequence[str]) -> None:
    """Raise ConfigError that names the settings under which the source's weights would mean something else."""
    used = source.parameters_used
    differing = [
        f"{f.name} (there {getattr(used.config, f.name)}, here {getattr(config, f.name)})"
        for f in fields(config)
        if f.name not in MAY_DIFFER and getattr(used.config, f.name) != getattr(config, f.name)
    ]
    there, here = pair_cutoffs(used.config, used.type_names), pair_cutoffs(config, type_names)
    old, new = _shared(used.type_names, type_names)
    for i, j in torch.nonzero(there[old][:, old] != here[new][:, new]).tolist():
        pair = f"{used.type_names[old[i]]}-{used.type_names[old[j]]}"
        differing.append(f"cutoff of {pair} (there {there[old[i], old[j]]:g}, here {here[new[i], new[j]]:g} A)")
    if differing:
        raise ConfigError(f"start.model was trained with other settings of model: {', '.join(differing)}")


def copy_weights(source: Potential, target: Potential) -> None:
    """Give the target the source's weights; those of types that the source lacks stay as they are."""
    old, new = _shared(source.parameters_used.type_names, target.parameters_used.type_names)
    there, here = source.model.state_dict(), target.model.state_dict()
    trained = {name for model in (source.model, target.model) for name, _ in model.named_parameters()}
    of_types, of_pairs = (_declared(target.model, f"weights_of_{what}") for what in ("types", "pairs"))
    for name in sorted(trained):
        values = there[name].to(here[name].dtype)
        if name in of_types:
            here[name][new] = values[old]
        elif name in of_pairs:
            here[name][_of_pairs(new, target)] = values[_of_pairs(old, source)]
        elif values.shape == here[name].shape:
            here[name].copy_(values)
        else:
            raise ConfigError(f"start.model: its weights {name} do not say which type they belong to: keep its types")


def _declared(model: nn.Module, attribute: str) -> set[str]:
    """Names of the weights that some part of a model declares under an attribute."""
    return {
        f"{prefix}.{name}".lstrip(".")
        for prefix, module in model.named_modules()
        for name in getattr(module, attribute, ())
    }


def _of_pairs(types: Sequence[int], potential: Potential) -> list[int]:
    """Indices of all ordered pairs of some types among those of all."""
    num_types = len(potential.parameters_used.type_names)
    return [center * num_types + neighbor for center in types for neighbor in types]


def _shared(there: Sequence[str], here: Sequence[str]) -> tuple[list[int], list[int]]:
    """Indices of the types that both have, in the two lists."""
    names = [name for name in here if name in there]
    return [list(there).index(n) for n in names], [list(here).index(n) for n in names]
