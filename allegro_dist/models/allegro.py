"""Allegro: a strictly local E(3)-equivariant model (Musaelian et al., Nat. Commun. 14, 579, 2023; revised in 2025).

x0_ij, w_ij, e1_ij   linear maps of the two-body embedding MLP(b_ij)
layer k              G^k_i  = avg_num_neighbors^(-1/2) sum_j e^k_ij Y(r_ij)
                     s^k_ij = the 0e component of V^k_ij, by projection (nn/tensor_track.py)
                     x^k_ij, e^{k+1}_ij = MLP(x^0, .., x^{k-1}, s^k)
energy               e_i = (2 avg_num_neighbors)^(-1/2) sum_j MLP(x^0, .., x^L)_ij
"""

from collections.abc import Sequence

from torch import Tensor, nn

from allegro_dist.config import AllegroConfig
from allegro_dist.models.edge_table import EdgeTableModel
from allegro_dist.nn.mlp import ScalarMLP
from allegro_dist.nn.radial import BesselEmbedding, SplineEmbedding
from allegro_dist.nn.tensor_track import (
    AdjointProduct,
    continue_adjoint,
    environment,
    layer_irreps,
    projection,
    start_adjoint,
)


class Allegro(EdgeTableModel):
    """The model in its per-atom form; arguments as for EdgeTableModel."""

    def __init__(self, config: AllegroConfig, cutoffs: Tensor, avg_num_neighbors: Sequence[float]) -> None:
        super().__init__(config, cutoffs, avg_num_neighbors)
        num_types, channels, scalars = self.num_types, self.num_channels, config.num_scalar_features
        embedded, orders, layers = config.embedding_width, config.l_max + 1, config.num_layers
        self.embedding: nn.Module = (
            BesselEmbedding(num_types, embedded, config.num_radial, config.envelope_power, config.bessel_trainable)
            if config.radial_basis == "bessel"
            else SplineEmbedding(num_types, embedded, config.num_radial, config.spline_span)
        )
        self.two_body = ScalarMLP([embedded], [scalars], config.two_body_mlp_depth, config.two_body_mlp_width)
        self.start = ScalarMLP([scalars], [scalars, orders * channels, orders * channels], 0, 0)
        irreps = layer_irreps(config.l_max, config.parity, layers)
        self.products = nn.ModuleList(
            AdjointProduct(irreps[k], irreps[0], irreps[k + 1], channels, config.path_channel_coupling)
            for k in range(layers)
        )
        self.latents = nn.ModuleList(
            ScalarMLP(
                [scalars] * (k + 1) + [channels],
                [scalars] if k == layers - 1 else [scalars, orders * channels],
                config.latent_mlp_depth,
                config.latent_mlp_width,
            )
            for k in range(layers)
        )
        self.readout = ScalarMLP([scalars] * (layers + 1), [1], config.readout_mlp_depth, config.readout_mlp_width)

    def forward(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Tensor:
        """edge_vectors [E, 3] Angstrom, edge_index [2, E] sorted by center, atom_types [N] -> [N], dimensionless."""
        edges = self.lay_out(edge_vectors, edge_index, atom_types)
        harmonics = edges.harmonics
        shape = (harmonics.shape[0], harmonics.shape[1], -1)
        two_body = self.two_body([self.embedding(edges.x, edges.center_types, edges.neighbor_types)])
        started = self.start(two_body)
        latents, weights, env_weights = [started[0]], started[1].view(shape), started[2]
        kernels: list[Tensor] = []
        environments: list[Tensor] = []  # by channel: [U, A, D]
        for product, latent in zip(self.products, self.latents):  # noqa: B905 (TorchScript)
            g = environment(env_weights.view(shape), harmonics, self.order_mask) * edges.norm[:, None, None]
            environments.append(g.permute(2, 0, 1).contiguous())
            kernels.append(product.kernel())  # type: ignore[operator]
            k = len(kernels) - 1
            q = start_adjoint(environments[k], kernels[k])
            for m in range(k - 1, -1, -1):
                q = continue_adjoint(environments[m], q, kernels[m])
            scalars = projection(weights, harmonics, q.permute(1, 2, 0), self.order_mask)
            out = latent(latents + [scalars])
            latents.append(out[0])
            if len(out) > 1:
                env_weights = out[1]
        return self.sum_over_edges(self.readout(latents)[0], edges)
