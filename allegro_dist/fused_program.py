"""The fused program: an Allegro model with its linear maps merged, as the compiled evaluators read it.

Between two nonlinearities a model is linear, so every dense layer can read the hidden activations h of earlier layers
(and the projections s_t) by one merged matrix each; latents x never appear.  csrc/fused_model.hpp says what the parts
mean.  Deployment merges once, in float64; training merges at every step, in the model's own dtype and differentiably,
so that derivatives with respect to the merged weights become those of the model's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from allegro_dist.models.allegro import Allegro
from allegro_dist.nn.mlp import ScalarMLP
from allegro_dist.nn.radial import BesselEmbedding, SplineEmbedding
from allegro_dist.nn.tensor_track import AdjointProduct
from allegro_dist.potential import Potential, pair_cutoffs

DENSE, PROJECTION = 0, 1

Source = tuple[int, int]
"""(DENSE | PROJECTION, index)"""
Combination = Mapping[Source, Tensor | None]
"""A feature as sum of sources times matrices [width of the source, features]; None is the identity."""


def fused_program(potential: Potential) -> dict[str, Tensor]:
    """The program as named float64 and int64 tensors; empty for models of other families."""
    model = potential.model
    if not isinstance(model, Allegro):
        return {}
    merged = merge(model, lambda weight: weight.detach().cpu().double())
    program = _constants(potential, model) | _radial_functions(model) | merged.structure() | merged.weights()
    program["sizes"][4] = merged.num_two_body
    for k, product in enumerate(model.products):
        assert isinstance(product, AdjointProduct)
        program |= _product(k, product)
    return {name: tensor.contiguous() for name, tensor in program.items()}


def merge(model: Allegro, read: Callable[[Tensor], Tensor], types: Tensor | None = None) -> MergedAllegro:
    """Merge the linear maps of a model.

    Args:
        read: what stands for a weight of the model in the result: itself, or a copy in another dtype.
        types: [n], of whose ordered pairs there shall be radial weights; None: of all types.
    """
    layers = _DenseLayers(read)
    radial_weights = _radial_weights(model, layers, read, types)
    two_body = _times({(DENSE, layers.last): None}, read(model.two_body.write[0]))
    num_two_body = len(layers.widths)
    started = [_times(two_body, read(weight)) for weight in model.start.write]

    latents: list[Combination] = [started[0]]
    environment: Combination = started[2]
    environments, paths = [], []
    for k, (product, latent) in enumerate(zip(model.products, model.latents, strict=True)):
        assert isinstance(product, AdjointProduct) and isinstance(latent, ScalarMLP)
        environments.append(_only(environment))
        paths.append(read(product.weight).T.expand(-1, model.num_channels))
        outputs = layers.append_mlp(latent, [*latents, {(PROJECTION, k): None}])
        latents.append(outputs[0])
        environment = outputs[-1]
    energy = layers.append_mlp(model.readout, latents)[0]
    if model.readout.depth == 0:
        energy = {(DENSE, layers.last): torch.ones(1, 1, dtype=radial_weights.dtype)}
    return MergedAllegro(
        radial_weights, layers, num_two_body, _only(started[1])[1], environments, paths, _only(energy)[1].flatten()
    )


@dataclass
class MergedAllegro:
    """The merged weights of a model, and which layer reads which."""

    radial_weights: Tensor
    """[n^2, basis, width] by which dense layer 0 reads the radial functions, for each ordered type pair."""
    layers: _DenseLayers
    num_two_body: int
    """Dense layers that depend on types and length alone."""
    projection: Tensor
    """[width of the last two-body layer, orders * channels]."""
    environments: list[tuple[int, Tensor]]
    """The dense layer that each environment reads, and by which matrix [width, orders * channels]."""
    path_weights: list[Tensor]
    """[paths, channels] of each tensor product."""
    readout: Tensor
    """[width of the last dense layer]."""

    def weights(self) -> dict[str, Tensor]:
        """Real tensors by name."""
        return (
            {f"dense.source.{k}": weight for k, weight in enumerate(self.layers.weights)}
            | {"projection": self.projection}
            | {f"environment.{k}": weight for k, (_, weight) in enumerate(self.environments)}
            | {f"product.{k}.weights": weight for k, weight in enumerate(self.path_weights)}
            | {"readout": self.readout, "radial.weights": self.radial_weights}
        )

    def structure(self) -> dict[str, Tensor]:
        """Integer tensors by name."""
        return {
            "environment.sources": torch.tensor([source for source, _ in self.environments]),
            "dense.layers": torch.tensor([self.layers.widths, self.layers.silus]).T,
            "dense.sources": torch.tensor(self.layers.sources).view(-1, 3),
        }


@dataclass
class _DenseLayers:
    """Dense layers in order of evaluation."""

    read: Callable[[Tensor], Tensor]
    widths: list[int] = field(default_factory=list)
    silus: list[int] = field(default_factory=list)
    sources: list[tuple[int, int, int]] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    @property
    def last(self) -> int:
        return len(self.widths) - 1

    def append(self, width: int, silu: bool, read: Mapping[Source, Tensor]) -> None:
        self.widths.append(width)
        self.silus.append(int(silu))
        for (kind, index), weight in read.items():
            self.sources.append((self.last, kind, index))
            self.weights.append(weight)

    def append_mlp(self, mlp: ScalarMLP, inputs: list[Combination]) -> list[Combination]:
        """The layers of an MLP over features; what its output blocks are in terms of the last of them.

        Without hidden layers it becomes one layer without activation, whose columns are the output blocks.
        """
        write = [self.read(weight) for weight in mlp.write]
        if mlp.depth == 0:
            weight = torch.cat(write, 1)
            parts = weight.split(_widths(inputs, weight.shape[0]))
            read = _sum([_times(block, part) for block, part in zip(inputs, parts, strict=True)])
            self.append(weight.shape[1], False, read)
            unit = torch.eye(weight.shape[1], dtype=weight.dtype)
            blocks = unit.split([w.shape[1] for w in write], dim=1)
            return [{(DENSE, self.last): block} for block in blocks]
        first = [self.read(weight) for weight in mlp.read]
        self.append(first[0].shape[1], True, _sum([_times(b, w) for b, w in zip(inputs, first, strict=True)]))
        for hidden in mlp.hidden:
            self.append(hidden.shape[1], True, {(DENSE, self.last): self.read(hidden)})
        return [{(DENSE, self.last): weight} for weight in write]


def _times(features: Combination, weight: Tensor) -> dict[Source, Tensor]:
    return {source: weight if matrix is None else matrix @ weight for source, matrix in features.items()}


def _sum(features: list[dict[Source, Tensor]]) -> dict[Source, Tensor]:
    total: dict[Source, Tensor] = {}
    for combination in features:
        for source, matrix in combination.items():
            total[source] = total[source] + matrix if source in total else matrix
    return total


def _widths(features: list[Combination], total: int) -> list[int]:
    """How many columns each feature has, `total` together; at most one is a bare source."""
    known = [next(iter(feature.values())) for feature in features]
    widths = [0 if matrix is None else matrix.shape[1] for matrix in known]
    return [width or total - sum(widths) for width in widths]


def _only(features: Combination) -> tuple[int, Tensor]:
    """Index and matrix of a feature that has one dense source."""
    (((_, index), matrix),) = features.items()
    assert matrix is not None
    return index, matrix


def _constants(potential: Potential, model: Allegro) -> dict[str, Tensor]:
    used = potential.parameters_used
    repulsion = potential.repulsion
    return {
        "sizes": torch.tensor([used.config.l_max, model.num_channels, len(model.products), model.num_types, 0]),
        "cutoffs": pair_cutoffs(used.config, used.type_names),
        "norm": torch.tensor(used.avg_num_neighbors, dtype=torch.float64).rsqrt(),
        "scale": potential.scale.detach().double().cpu(),
        "shift": potential.shift.detach().double().cpu(),
        "charges": repulsion.charges.cpu() if repulsion is not None else torch.zeros(0, dtype=torch.float64),
        "zbl_envelope_power": torch.tensor(used.config.repulsion_power),
    }


def _radial_functions(model: Allegro) -> dict[str, Tensor]:
    embedding = model.embedding
    if isinstance(embedding, BesselEmbedding):
        kind, parameter, wavenumbers = 0, embedding.power, embedding.wavenumbers.detach().double().cpu()
    else:
        assert isinstance(embedding, SplineEmbedding)
        kind, parameter, wavenumbers = 1, embedding.span, torch.zeros(0, dtype=torch.float64)
    return {
        "radial.kind": torch.tensor(kind),
        "radial.parameter": torch.tensor(parameter),
        "radial.wavenumbers": wavenumbers,
    }


def _radial_weights(
    model: Allegro, layers: _DenseLayers, read: Callable[[Tensor], Tensor], types: Tensor | None
) -> Tensor:
    """By which dense layer 0 reads the radial functions, for each ordered type pair; appends the two-body layers."""
    embedding = model.embedding
    if isinstance(embedding, BesselEmbedding):
        center, neighbor = (
            read(t) if types is None else read(t)[types] for t in (embedding.center, embedding.neighbor)
        )
        num_types, half = center.shape
        shape = (num_types, num_types, half)
        pairs = torch.cat((center.unsqueeze(1).expand(shape), neighbor.unsqueeze(0).expand(shape)), 2)
        weights = read(embedding.mix) * pairs.reshape(num_types * num_types, 1, 2 * half)
    else:
        assert isinstance(embedding, SplineEmbedding)
        weights = read(embedding.weight)
        if types is not None:
            weights = weights[(types.unsqueeze(1) * embedding.num_types + types).flatten()]
    if model.two_body.depth:
        weights = weights @ read(model.two_body.read[0])
    layers.append(weights.shape[2], model.two_body.depth > 0, {})
    for hidden in model.two_body.hidden:
        layers.append(hidden.shape[1], True, {(DENSE, layers.last): read(hidden)})
    return weights


def _product(k: int, product: AdjointProduct) -> dict[str, Tensor]:
    """Nonzero coefficients of a tensor product, seen from its output."""
    in_dim = product.shape[2]
    path, values = product.path_of.cpu(), product.coefficients.double().cpu()
    b, c, a = torch.unravel_index(product.entry_of.cpu(), product.shape)
    scalar = c == 0  # the 0e component comes first
    return {
        f"product.{k}.dim": torch.tensor(in_dim),
        f"product.{k}.start.index": torch.stack((a, b, path), 1)[scalar],
        f"product.{k}.start.value": values[scalar],
        f"product.{k}.proceed.index": torch.stack((a, b, c, path), 1),
        f"product.{k}.proceed.value": values,
    }
