"""What the forms of Allegro share: edges as a table, their harmonics and reduced lengths, the norms of sums."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from e3nn import o3
from torch import Tensor

from allegro_dist.config import AllegroConfig
from allegro_dist.models.base import InteratomicModel
from allegro_dist.nn.neighbor_table import neighbor_table


class Edges(NamedTuple):
    """A atoms, M neighbor slots, D = (l_max + 1)^2 components."""

    harmonics: Tensor  # [A, M, D]
    x: Tensor  # [A*M] length / cutoff of the type pair
    center_types: Tensor  # [A*M]
    neighbor_types: Tensor  # [A*M]
    norm: Tensor  # [A] (mean number of neighbors of such centers)^(-1/2)


class EdgeTableModel(InteratomicModel):
    """A model over `Edges`.

    Args:
        config: hyperparameters.
        cutoffs: [T, T] cutoff of each ordered type pair (center, neighbor), Angstrom.
        avg_num_neighbors: mean number of edges of a center, for each of the T types.
    """

    inverse_cutoffs: Tensor
    inverse_sqrt_neighbors: Tensor
    order_mask: Tensor

    def __init__(self, config: AllegroConfig, cutoffs: Tensor, avg_num_neighbors: Sequence[float]) -> None:
        super().__init__()
        orders, dtype = config.l_max + 1, torch.get_default_dtype()
        self.empty_length = 2.0 * float(cutoffs.max())
        self.num_types = cutoffs.shape[0]
        self.num_channels = config.num_tensor_features
        self.harmonics = o3.SphericalHarmonics(list(range(orders)), normalize=True, normalization="component")
        self.register_buffer("inverse_cutoffs", (1.0 / cutoffs).to(dtype).flatten())
        self.register_buffer("inverse_sqrt_neighbors", torch.tensor(avg_num_neighbors, dtype=dtype).rsqrt())
        order_of = torch.tensor([l for l in range(orders) for _ in range(2 * l + 1)])
        self.register_buffer("order_mask", torch.eye(orders, dtype=dtype)[order_of], persistent=False)

    def lay_out(self, edge_vectors: Tensor, edge_index: Tensor, atom_types: Tensor) -> Edges:
        """edge_vectors [E, 3] Angstrom, edge_index [2, E] sorted by center, atom_types [N]."""
        table = neighbor_table(edge_vectors, edge_index, atom_types, self.empty_length)
        harmonics = self.harmonics(table.edge_vectors).view(table.num_atoms, table.num_slots, -1)
        pair = table.center_types * self.num_types + table.neighbor_types
        x = torch.linalg.vector_norm(table.edge_vectors, dim=1) * self.inverse_cutoffs.index_select(0, pair)
        norm = self.inverse_sqrt_neighbors.index_select(0, atom_types)
        return Edges(harmonics, x, table.center_types, table.neighbor_types, norm)

    def sum_over_edges(self, edge_energy: Tensor, edges: Edges) -> Tensor:
        """[A*M, 1] -> [A]; both ends of an edge move its energy, hence the 2 in (2 avg_num_neighbors)^(-1/2)."""
        by_center = edge_energy.view(edges.harmonics.shape[0], edges.harmonics.shape[1])
        return by_center.sum(1) * edges.norm * 0.7071067811865476
