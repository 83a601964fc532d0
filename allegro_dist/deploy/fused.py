"""The fused program: an Allegro model with its linear maps merged, as the compiled evaluator reads it.

Between two nonlinearities a model is linear, so every dense layer can read the hidden activations h of earlier layers
(and the projections s_t) by one merged matrix each; latents x never appear.  csrc/fused_model.hpp says what the parts
mean.  Everything is merged in float64, whatever the model's dtype.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from allegro_dist.models.allegro import Allegro
from allegro_dist.nn.mlp import ScalarMLP
from allegro_dist.nn.radial import BesselEmbedding, SplineEmbedding
from allegro_dist.nn.tensor_track import AdjointProduct
from allegro_dist.potential import Potential, pair_cutoffs

DENSE, PROJECTION = 0, 1

Combination = dict[tuple[int, int], Tensor]
"""A feature as sum of sources times matrices: {(DENSE | PROJECTION, index): [width of the source, features]}."""


class Tables(NamedTuple):
    """How finely the fused evaluator tabulates the two-body functions."""

    intervals: int = 0
    """Intervals between zero and each pair's cutoff; 0: no tables, the two-body layers are evaluated."""
    tolerance: float = 0.0
    """Largest deviation of an edge gradient that the self-check may find because of the tables, eV/Angstrom."""


def fused_program(potential: Potential) -> dict[str, Tensor]:
    """The program as named float64 and int64 tensors; empty for models of other families."""
    model = potential.model
    if not isinstance(model, Allegro):
        return {}
    layers = _DenseLayers()
    program = _sizes(potential, model) | _radial(model, layers)
    two_body = _times(_identity(layers), _weights(model.two_body.write)[0])
    num_two_body = len(layers.widths)
    started = _weights(model.start.write)
    program["sizes"][4] = num_two_body
    program["projection"] = _only(_times(two_body, started[1]))[1]

    latents, environment = [_times(two_body, started[0])], _times(two_body, started[2])
    sources = []
    for k, (product, latent) in enumerate(zip(model.products, model.latents, strict=True)):
        assert isinstance(product, AdjointProduct) and isinstance(latent, ScalarMLP)
        source, program[f"environment.{k}"] = _only(environment)
        sources.append(source)
        program |= _product(k, product)
        inputs: list[Combination] = [*latents, {(PROJECTION, k): torch.eye(model.num_channels, dtype=torch.float64)}]
        outputs = layers.append_mlp(latent, inputs)
        latents.append(outputs[0])
        environment = outputs[-1]
    program["environment.sources"] = torch.tensor(sources)
    energy = layers.append_mlp(model.readout, latents)[0]
    if model.readout.depth == 0:
        energy = {(DENSE, layers.last): torch.ones(1, 1, dtype=torch.float64)}
    program["readout"] = _only(energy)[1].flatten()
    return {name: tensor.contiguous() for name, tensor in (program | layers.tensors()).items()}


@dataclass
class _DenseLayers:
    """Dense layers in order of evaluation."""

    widths: list[int] = field(default_factory=list)
    silus: list[int] = field(default_factory=list)
    sources: list[tuple[int, int, int]] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    @property
    def last(self) -> int:
        return len(self.widths) - 1

    def append(self, width: int, silu: bool, read: Combination) -> None:
        self.widths.append(width)
        self.silus.append(int(silu))
        for (kind, index), weight in read.items():
            self.sources.append((self.last, kind, index))
            self.weights.append(weight)

    def append_mlp(self, mlp: ScalarMLP, inputs: list[Combination]) -> list[Combination]:
        """The layers of an MLP over features; what its output blocks are in terms of the last of them.

        Without hidden layers it becomes one layer without activation, whose columns are the output blocks.
        """
        write = _weights(mlp.write)
        if mlp.depth == 0:
            weight = torch.cat(write, 1)
            parts = weight.split([next(iter(block.values())).shape[1] for block in inputs])
            read = _sum([_times(block, part) for block, part in zip(inputs, parts, strict=True)])
            self.append(weight.shape[1], False, read)
            unit = torch.eye(weight.shape[1], dtype=torch.float64)
            blocks = unit.split([w.shape[1] for w in write], dim=1)
            return [{(DENSE, self.last): block} for block in blocks]
        first = _weights(mlp.read)
        self.append(first[0].shape[1], True, _sum([_times(b, w) for b, w in zip(inputs, first, strict=True)]))
        for weight in _weights(mlp.hidden):
            self.append(weight.shape[1], True, {(DENSE, self.last): weight})
        return [{(DENSE, self.last): weight} for weight in write]

    def tensors(self) -> dict[str, Tensor]:
        named = {f"dense.source.{k}": weight for k, weight in enumerate(self.weights)}
        return named | {
            "dense.layers": torch.tensor([self.widths, self.silus]).T,
            "dense.sources": torch.tensor(self.sources).view(-1, 3),
        }


def _weights(parameters: torch.nn.ParameterList) -> list[Tensor]:
    return [weight.detach().cpu().double() for weight in parameters]


def _times(features: Combination, weight: Tensor) -> Combination:
    return {source: matrix @ weight for source, matrix in features.items()}


def _sum(features: list[Combination]) -> Combination:
    total: Combination = {}
    for combination in features:
        for source, matrix in combination.items():
            total[source] = total[source] + matrix if source in total else matrix
    return total


def _only(features: Combination) -> tuple[int, Tensor]:
    """Index and matrix of a feature that has one dense source."""
    (((_, index), matrix),) = features.items()
    return index, matrix


def _identity(layers: _DenseLayers) -> Combination:
    return {(DENSE, layers.last): torch.eye(layers.widths[-1], dtype=torch.float64)}


def _sizes(potential: Potential, model: Allegro) -> dict[str, Tensor]:
    used = potential.parameters_used
    repulsion = potential.repulsion
    return {
        "sizes": torch.tensor([used.config.l_max, model.num_channels, len(model.products), model.num_types, 0]),
        "cutoffs": pair_cutoffs(used.config, used.type_names),
        "norm": torch.tensor(used.avg_num_neighbors, dtype=torch.float64).rsqrt(),
        "scale": potential.scale.detach().double().cpu(),
        "shift": potential.shift.detach().double().cpu(),
        "charges": repulsion.charges.cpu() if repulsion is not None else torch.zeros(0, dtype=torch.float64),
        "zbl_envelope_power": torch.tensor(used.config.envelope_power),
    }


def _radial(model: Allegro, layers: _DenseLayers) -> dict[str, Tensor]:
    """The basis and the weights by which dense layer 0 reads it, for each ordered type pair; the two-body layers."""
    embedding, num_types = model.embedding, model.num_types
    if isinstance(embedding, BesselEmbedding):
        kind, parameter, wavenumbers = 0, embedding.power, embedding.wavenumbers.detach().double().cpu()
        center, neighbor = (t.detach().cpu().double() for t in (embedding.center, embedding.neighbor))
        pairs = [torch.cat((center[i], neighbor[j])) for i in range(num_types) for j in range(num_types)]
        weights = embedding.mix.detach().cpu().double() * torch.stack(pairs).unsqueeze(1)
    else:
        assert isinstance(embedding, SplineEmbedding)
        kind, parameter, wavenumbers = 1, embedding.span, torch.zeros(0, dtype=torch.float64)
        weights = embedding.weight.detach().cpu().double()
    if model.two_body.depth:
        weights = weights @ _weights(model.two_body.read)[0]
    layers.append(weights.shape[2], model.two_body.depth > 0, {})
    for hidden in _weights(model.two_body.hidden):
        layers.append(hidden.shape[1], True, {(DENSE, layers.last): hidden})
    return {
        "radial.kind": torch.tensor(kind),
        "radial.parameter": torch.tensor(parameter),
        "radial.wavenumbers": wavenumbers,
        "radial.weights": weights,
    }


def _product(k: int, product: AdjointProduct) -> dict[str, Tensor]:
    """Nonzero coefficients of a tensor product, seen from its output."""
    env_dim, out_dim, in_dim = product.shape
    paths = product.paths.double().cpu().view(-1, env_dim, out_dim, in_dim)
    path, b, c, a = paths.nonzero(as_tuple=True)
    values = paths[path, b, c, a]
    weights = product.weight.detach().cpu().double().T.expand(-1, product.num_channels)
    scalar = c == 0  # the 0e component comes first
    return {
        f"product.{k}.dim": torch.tensor(in_dim),
        f"product.{k}.weights": weights,
        f"product.{k}.start.index": torch.stack((a, b, path), 1)[scalar],
        f"product.{k}.start.value": values[scalar],
        f"product.{k}.proceed.index": torch.stack((a, b, c, path), 1),
        f"product.{k}.proceed.value": values,
    }
