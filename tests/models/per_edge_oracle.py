"""The per-edge form of Allegro, written with e3nn's own tensor products: the witness of the real one."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor
from torch.nn.functional import silu

from allegro_dist.models.allegro import Allegro
from allegro_dist.nn.tensor_track import layer_irreps


def mlp(module, blocks: list[Tensor]) -> list[Tensor]:
    """The MLP on concatenated inputs, with concatenated weights."""
    x = torch.cat(blocks, dim=1)
    if module.depth > 0:
        x = silu(x @ torch.cat(list(module.read)))
        for weight in module.hidden:
            x = silu(x @ weight)
    out = x @ torch.cat(list(module.write), dim=1)
    return list(out.split([w.shape[1] for w in module.write], dim=1))


def tensor_product(product, irreps_in, irreps_env, irreps_out, channels: int) -> o3.TensorProduct:
    """e3nn's product with the same paths: 'uuu' per channel, weights w[u, path], component normalization."""
    instructions = [
        (a, b, c, "uuu", True, 1.0)
        for c, (_, ir_c) in enumerate(irreps_out)
        for a, (_, ir_a) in enumerate(irreps_in)
        for b, (_, ir_b) in enumerate(irreps_env)
        if ir_c in ir_a * ir_b
    ]
    wide = [o3.Irreps([(channels, ir) for _, ir in irreps]) for irreps in (irreps_in, irreps_env, irreps_out)]
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # or e3nn rounds its Clebsch-Gordan coefficients to float32
    try:
        tp = o3.TensorProduct(
            *wide,
            instructions,
            irrep_normalization="component",
            path_normalization="none",
            shared_weights=True,
            internal_weights=True,
        )
    finally:
        torch.set_default_dtype(default)
    weight = product.weight.detach().expand(channels, -1)
    tp.weight.data = weight.T.reshape(-1).clone()
    return tp


def expand(weights: Tensor, harmonics: Tensor, irreps, channels: int) -> Tensor:
    """w[e, l, u] Y[e, lm] in e3nn's layout: for each irrep, [u, m]."""
    weights = weights.view(len(weights), len(irreps), channels)
    blocks = [
        (weights[:, k, :, None] * harmonics[:, None, s]).reshape(len(weights), -1)
        for k, s in enumerate(irreps.slices())
    ]
    return torch.cat(blocks, dim=1)


def allegro_per_edge(model: Allegro, config, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Tensor:
    """Energies per atom by the per-edge form, with the weights of `model`."""
    channels, layers = config.num_tensor_features, config.num_layers
    irreps = layer_irreps(config.l_max, config.parity, layers)
    center, neighbor = edge_index
    type_i, type_j = atom_types[center], atom_types[neighbor]
    harmonics = o3.spherical_harmonics(irreps[0], edge_vectors, normalize=True, normalization="component")
    x = edge_vectors.norm(dim=1) * model.inverse_cutoffs[type_i * model.num_types + type_j]
    norm = model.inverse_sqrt_neighbors[atom_types]
    embedded = model.embedding(x, type_i, type_j)
    latents, weights, env_weights = mlp(model.start, mlp(model.two_body, [embedded]))
    latents = [latents]
    features = expand(weights, harmonics, irreps[0], channels)
    for k in range(layers):
        per_edge = expand(env_weights, harmonics, irreps[0], channels)
        env = torch.zeros(len(atom_types), per_edge.shape[1], dtype=per_edge.dtype).index_add(0, center, per_edge)
        env = env * norm[:, None]
        tp = tensor_product(model.products[k], irreps[k], irreps[0], irreps[k + 1], channels)
        features = tp(features, env[center])
        scalars = features[:, :channels]  # 0e comes first
        out = mlp(model.latents[k], [*latents, scalars])
        latents.append(out[0])
        env_weights = out[1] if len(out) > 1 else env_weights
    edge_energy = mlp(model.readout, latents)[0][:, 0]
    energy = torch.zeros(len(atom_types), dtype=edge_energy.dtype).index_add(0, center, edge_energy)
    return energy * norm / 2**0.5
