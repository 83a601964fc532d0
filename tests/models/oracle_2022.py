"""The 2022 form of Allegro written with e3nn's own products and linear maps: the witness of ours."""

from __future__ import annotations

import math

import torch
from e3nn import o3
from torch import Tensor

from allegro_dist.models.allegro_2022 import Allegro2022
from allegro_dist.nn.tensor_track import layer_irreps
from tests.models.per_edge_oracle import expand, mlp


def all_paths(irreps_in, irreps_env, irreps_out, channels: int) -> o3.TensorProduct:
    """e3nn's product with an output of its own for every path, 'uuu' per channel, no weights."""
    outputs, instructions = [], []
    for ir_c in (ir for _, ir in irreps_out):
        for a, (_, ir_a) in enumerate(irreps_in):
            for b, (_, ir_b) in enumerate(irreps_env):
                if ir_c in ir_a * ir_b:
                    instructions.append((a, b, len(outputs), "uuu", False, 1.0))
                    outputs.append((channels, ir_c))
    wide = [o3.Irreps([(channels, ir) for _, ir in irreps]) for irreps in (irreps_in, irreps_env)]
    return o3.TensorProduct(
        *wide, o3.Irreps(outputs), instructions, irrep_normalization="component", path_normalization="none"
    )


def mixing(product, irreps_all, irreps_out, channels: int) -> o3.Linear:
    """e3nn's linear map with our weights: rows of ours run over channels, then paths."""
    linear = o3.Linear(irreps_all, o3.Irreps([(channels, ir) for _, ir in irreps_out]))
    seen = [0] * len(product.mix)
    for _, instruction, weight in linear.weight_views(yield_instruction=True):
        c = instruction.i_out
        ours = product.mix[c].detach().view(channels, product.num_paths[c], channels)[:, seen[c]]
        weight.data.copy_(ours * math.sqrt(channels * product.num_paths[c]))  # e3nn divides by it
        seen[c] += 1
    return linear


def polynomial(x: Tensor, p: int) -> Tensor:
    """DimeNet's envelope as its authors write it."""
    a, b, c = (p + 1) * (p + 2) / 2, p * (p + 2), p * (p + 1) / 2
    return (1 - a * x**p + b * x ** (p + 1) - c * x ** (p + 2)) * (x < 1)


def allegro_2022(model: Allegro2022, config, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Tensor:
    """Energies per atom with the weights of `model`."""
    channels, layers = config.num_tensor_features, config.num_layers
    irreps = layer_irreps(config.l_max, config.parity, layers)
    center, neighbor = edge_index
    type_i, type_j = atom_types[center], atom_types[neighbor]
    harmonics = o3.spherical_harmonics(irreps[0], edge_vectors, normalize=True, normalization="component")
    r = edge_vectors.norm(dim=1) * model.inverse_cutoffs[type_i * model.num_types + type_j]
    u = polynomial(r, config.envelope_power)[:, None]
    norm = model.inverse_sqrt_neighbors[atom_types]
    bessel = torch.sinc(r[:, None] * model.wavenumbers) * model.wavenumbers
    one_hot = torch.nn.functional.one_hot(torch.stack((type_i, type_j)), model.num_types).to(r.dtype)
    x = u * mlp(model.two_body, [*one_hot, bessel])[0]
    features = expand(mlp(model.start, [x])[0], harmonics, irreps[0], channels)
    for k, layer in enumerate(model.layers):
        per_edge = expand(mlp(layer.weigh, [x])[0], harmonics, irreps[0], channels)
        env = torch.zeros(len(atom_types), per_edge.shape[1], dtype=per_edge.dtype).index_add(0, center, per_edge)
        product = all_paths(irreps[k], irreps[0], irreps[k + 1], channels)
        out = product(features, (env * norm[:, None])[center])
        num_scalars = layer.product.num_paths[0]
        scalars = out[:, : num_scalars * channels].view(-1, num_scalars, channels).transpose(1, 2).flatten(1)
        share = torch.sigmoid(layer.update)
        x = (x + share * u * mlp(layer.latent, [x, scalars])[0]) / (1 + share**2) ** 0.5
        if k < layers - 1:
            features = mixing(layer.product, product.irreps_out, irreps[k + 1], channels)(out)
    edge_energy = mlp(model.readout, [x])[0][:, 0]
    energy = torch.zeros(len(atom_types), dtype=edge_energy.dtype).index_add(0, center, edge_energy)
    return energy * norm / 2**0.5
