"""Allegro as first published (Musaelian et al., Nat. Commun. 14, 579, 2023; preprint 2022).

u_ij is the envelope; a linear map is in square brackets

two bodies           x^0_ij  = u_ij MLP(1_type(i), 1_type(j), B(r_ij))        V^0_ij = [x^0_ij] Y(r_ij)
layer k              G^k_i   = avg_num_neighbors^(-1/2) sum_j [x^{k-1}_ij] Y(r_ij)
                     T^k_ij  = all paths of V^{k-1}_ij x G^k_i                (nn/mixed_product.py)
                     V^k_ij  = [T^k_ij], mixing channels and paths
                     x^k_ij  = (x^{k-1}_ij + a_k u_ij MLP(x^{k-1}_ij, T^k_ij -> 0e)) / (1 + a_k^2)^(1/2)
energy               e_i     = (2 avg_num_neighbors)^(-1/2) sum_j MLP(x^L_ij)

a_k = sigmoid(learned number), 1/2 at the start.  The MLPs are free of biases.
"""

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from allegro_dist.config import AllegroConfig
from allegro_dist.models.edge_table import EdgeTableModel
from allegro_dist.nn.mixed_product import MixedProduct
from allegro_dist.nn.mlp import ScalarMLP
from allegro_dist.nn.radial import bessel_basis, envelope
from allegro_dist.nn.tensor_track import environment, layer_irreps


class Layer(nn.Module):
    """From x^{k-1}, V^{k-1} to x^k, V^k.

    Args:
        irreps_in, irreps_env, irreps_out: V^{k-1}, Y, V^k.
        last: whether V^k is of no use.
    """

    def __init__(
        self, config: AllegroConfig, irreps_in: o3.Irreps, irreps_env: o3.Irreps, irreps_out: o3.Irreps, last: bool
    ) -> None:
        super().__init__()
        scalars, channels = config.num_scalar_features, config.num_tensor_features
        self.weigh = ScalarMLP([scalars], [(config.l_max + 1) * channels], 0, 0)
        self.product = MixedProduct(irreps_in, irreps_env, irreps_out, channels, mixed=not last)
        inputs = [scalars, channels * self.product.num_paths[0]]
        self.latent = ScalarMLP(inputs, [scalars], config.latent_mlp_depth, config.latent_mlp_width)
        self.update = nn.Parameter(torch.zeros(1))

    def forward(
        self, x: Tensor, features: Tensor, harmonics: Tensor, order_mask: Tensor, norm: Tensor, cutoff: Tensor
    ) -> tuple[Tensor, Tensor]:
        """x [A*M, S], features [A, U, M, D], harmonics [A, M, B], norm [A], cutoff [A*M, 1] -> x, features."""
        weights = self.weigh([x])[0].view(harmonics.shape[0], harmonics.shape[1], -1)
        g = environment(weights, harmonics, order_mask) * norm[:, None, None]
        scalars, features = self.product(features, g.transpose(1, 2))
        new = cutoff * self.latent([x, scalars])[0]
        share = torch.sigmoid(self.update)
        return (x + share * new) * torch.rsqrt(1.0 + share * share), features


class Allegro2022(EdgeTableModel):
    """The model on edges; arguments as for EdgeTableModel."""

    weights_of_types = ("two_body.read.0", "two_body.read.1")  # whose rows belong to the types

    def __init__(self, config: AllegroConfig, cutoffs: Tensor, avg_num_neighbors: Sequence[float]) -> None:
        super().__init__(config, cutoffs, avg_num_neighbors)
        scalars, layers, orders = config.num_scalar_features, config.num_layers, config.l_max + 1
        self.envelope_power = config.envelope_power
        wavenumbers = torch.arange(1, config.num_radial + 1, dtype=torch.get_default_dtype())
        if config.bessel_trainable:
            self.wavenumbers = nn.Parameter(wavenumbers)
        else:
            self.register_buffer("wavenumbers", wavenumbers)

        inputs = [self.num_types, self.num_types, config.num_radial]
        self.two_body = ScalarMLP(inputs, [scalars], config.two_body_mlp_depth, config.two_body_mlp_width)
        self.start = ScalarMLP([scalars], [orders * self.num_channels], 0, 0)
        irreps = layer_irreps(config.l_max, config.parity, layers)
        self.layers = nn.ModuleList(
            Layer(config, irreps[k], irreps[0], irreps[k + 1], last=k == layers - 1) for k in range(layers)
        )
        self.readout = ScalarMLP([scalars], [1], config.readout_mlp_depth, config.readout_mlp_width)

    def forward(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Tensor:
        """edge_vectors [E, 3] Angstrom, edge_index [2, E] sorted by center, atom_types [N] -> [N], dimensionless."""
        edges = self.lay_out(edge_vectors, edge_index, atom_types)
        num_atoms, num_slots, _ = edges.harmonics.shape
        cutoff = envelope(edges.x, self.envelope_power).unsqueeze(1)
        types = torch.eye(self.num_types, dtype=cutoff.dtype, device=cutoff.device)
        one_hot = [types.index_select(0, edges.center_types), types.index_select(0, edges.neighbor_types)]
        x = cutoff * self.two_body(one_hot + [bessel_basis(edges.x, self.wavenumbers)])[0]
        weights = self.start([x])[0].view(num_atoms, num_slots, -1, self.num_channels)
        features = torch.matmul(self.order_mask, weights.permute(0, 3, 2, 1)).transpose(2, 3)
        features = features * edges.harmonics.unsqueeze(1)
        for layer in self.layers:
            x, features = layer(x, features, edges.harmonics, self.order_mask, edges.norm, cutoff)
        return self.sum_over_edges(self.readout([x])[0], edges)
