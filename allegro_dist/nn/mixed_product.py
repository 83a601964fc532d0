"""The tensor product of the 2022 form of Allegro: on edges, every path by itself, then a mixing of channels and paths.

    T_ij[u, p]  = sum_ab C^p_abc V_ij[u, a] G_i[u, b]             (path p: a x b -> c)
    V'_ij[v, c] = sum_{p -> c} sum_u W_c[u, p, v] T_ij[u, p]

Mixing the channels ties the features of an edge together, so that what follows is not a dot product per channel any
more, as it is in nn/tensor_track.py: edges keep a tensor.  What belongs to the center alone, C^p_abc G_i[u, b], is
contracted once per atom, and the products of an atom's edges with it are one matrix product per channel.

Layouts: A atoms, M neighbor slots, U channels; D components of V, B of G, X of all paths together.
"""

import math

import torch
from e3nn import o3
from torch import Tensor, nn

from allegro_dist.nn.radial import unit_variance
from allegro_dist.nn.tensor_track import clebsch_gordan_paths


class MixedProduct(nn.Module):
    """Scalars of all paths to 0e, and the mixed tensor.

    Args:
        irreps_in, irreps_env, irreps_out: V, G, V'; 0e comes first in irreps_out.
        num_channels: U.
        mixed: False for the last layer, of whose product the scalars alone are read.
    """

    coefficients: Tensor
    entry_of: Tensor

    def __init__(
        self, irreps_in: o3.Irreps, irreps_env: o3.Irreps, irreps_out: o3.Irreps, num_channels: int, mixed: bool
    ) -> None:
        super().__init__()
        paths = clebsch_gordan_paths(irreps_in, irreps_env, irreps_out)
        self.num_channels = num_channels
        self.dims = [ir.dim for _, ir in irreps_out]
        self.num_paths: list[int] = []  # to each irrep of V'
        columns = []
        for s in irreps_out.slices():
            to_irrep = [path[:, :, s] for path in paths if path[:, :, s].any()]
            self.num_paths.append(len(to_irrep))
            columns += to_irrep
        kernel = torch.cat(columns, dim=2).permute(1, 0, 2).to(torch.get_default_dtype())  # [B, D, X]
        self.shape = (kernel.shape[0], kernel.shape[1], kernel.shape[2])
        # Most coefficients are zero: the others alone, or they would be most of an archive.
        (entries,) = kernel.flatten().nonzero(as_tuple=True)
        self.register_buffer("coefficients", kernel.flatten()[entries], persistent=False)
        self.register_buffer("entry_of", entries, persistent=False)
        fan_in = [num_channels * n for n in self.num_paths]
        self.mix = nn.ParameterList(
            [unit_variance(n, num_channels) / math.sqrt(n) for n in fan_in] if mixed else []
        )  # W_c [U * paths, U]

    def forward(self, features: Tensor, environment: Tensor) -> tuple[Tensor, Tensor]:
        """features [A, U, M, D], environment [A, U, B] -> scalars [A*M, U * paths to 0e], features [A, U, M, D']."""
        num_atoms, channels, num_slots, _ = features.shape
        b, d, x = self.shape
        kernel = self.coefficients.new_zeros(b * d * x).index_copy(0, self.entry_of, self.coefficients)
        of_center = (environment.reshape(num_atoms * channels, b) @ kernel.view(b, d * x)).view(-1, d, x)
        products = torch.bmm(features.reshape(num_atoms * channels, num_slots, d), of_center)
        by_edge = products.view(num_atoms, channels, num_slots, x).transpose(1, 2)  # [A, M, U, X]
        scalars = by_edge[..., : self.num_paths[0]].reshape(num_atoms * num_slots, -1)
        mixed: list[Tensor] = []
        start = 0
        for k, weight in enumerate(self.mix):
            num_paths = self.num_paths[k]
            stop = start + num_paths * self.dims[k]
            block = by_edge[..., start:stop].reshape(num_atoms, num_slots, channels * num_paths, -1)
            mixed.append(torch.matmul(weight.t(), block))
            start = stop
        if len(mixed) == 0:
            return scalars, features
        return scalars, torch.cat(mixed, dim=3).transpose(1, 2)
