"""The tensor track of Allegro at the cost of a dot product per edge.

Allegro contracts a tensor feature V_ij of every edge with the environment G_i of its center, layer by layer, and reads
the 0e component after each layer:

    V^k_ij[u, c] = sum_{paths a x b -> c} w^k[path, u] sum_ab C_abc V^{k-1}_ij[u, a] G^k_i[u, b],    s^k_ij = V^k_ij[0e]

V^k is linear in V^0_ij[u, lm] = w_ij[u, l] Y_lm(r_ij), and all other factors belong to the center.  So

    s^k_ij[u] = sum_l w_ij[u, l] sum_m q^k_i[u, lm] Y_lm(r_ij)

where q^k is the adjoint of the products, per atom:  q = G^k contracted to 0e, then, for m = k-1 .. 1,
q[a] <- sum_{a x b -> c} w^m[path, u] C_abc G^m[b] q[c].  Nothing of this is an approximation (tests/nn compare with
e3nn's tensor products on edges).  On edges two primitives are left, transposes of one another: `environment` sums
edges into atoms, `projection` reads atoms from edges.

Layouts: A atoms, M neighbor slots, D = (l_max + 1)^2 components, L = l_max + 1 orders, U channels.
"""

import math

import torch
from e3nn import o3
from torch import Tensor, nn

from allegro_dist.nn.radial import unit_variance


def environment(weights: Tensor, harmonics: Tensor, order_mask: Tensor) -> Tensor:
    """G[a, lm, u] = sum_slots weights[a, slot, l, u] Y[a, slot, lm].

    The product is taken for all pairs (lm, l) at once, and order_mask [D, L] keeps those with l(lm) = l: this is
    one dense matrix product per atom, where expanding the weights from l to lm would be a pass over [E, D, U].

    Args:
        weights: [A, M, L*U];  harmonics: [A, M, D].

    Returns: [A, D, U].
    """
    num_components, num_orders = order_mask.shape
    every = torch.bmm(harmonics.transpose(1, 2), weights)
    every = every.view(every.shape[0], num_components, num_orders, -1)
    return (every * order_mask.unsqueeze(-1)).sum(2)


def projection(weights: Tensor, harmonics: Tensor, q: Tensor, order_mask: Tensor) -> Tensor:
    """s[a, slot, u] = sum_l weights[a, slot, l, u] sum_m q[a, lm, u] Y[a, slot, lm].

    Args:
        weights: [A, M, L*U];  harmonics: [A, M, D];  q: [A, D, U].

    Returns: [A*M, U].
    """
    num_atoms, num_slots, _ = weights.shape
    num_components, num_orders = order_mask.shape
    q_by_order = (q.unsqueeze(2) * order_mask.unsqueeze(-1)).view(num_atoms, num_components, -1)
    products = torch.bmm(harmonics, q_by_order) * weights
    return products.view(num_atoms * num_slots, num_orders, -1).sum(1)


def layer_irreps(l_max: int, parity: bool, num_layers: int) -> list[o3.Irreps]:
    """Irreps of V^0 .. V^num_layers, one channel each: all allowed ones that are reached and still lead to 0e."""
    harmonics = o3.Irreps.spherical_harmonics(l_max)
    allowed = o3.Irreps([(1, (l, p)) for l in range(l_max + 1) for p in (1, -1)]) if parity else harmonics
    scalar = o3.Irreps("0e")
    layers = [harmonics]
    for k in range(1, num_layers + 1):
        wanted = scalar if k == num_layers else allowed
        reached = {ir for _, a in layers[-1] for _, b in harmonics for ir in a * b}
        layers.append(o3.Irreps([(1, ir) for _, ir in wanted if ir in reached]))
    for k in range(num_layers - 1, -1, -1):  # drop what can no longer become part of the next layer
        useful = [(1, a) for _, a in layers[k] if any(c in layers[k + 1] for _, b in harmonics for c in a * b)]
        layers[k] = o3.Irreps(useful)
    return layers


def clebsch_gordan_paths(irreps_in: o3.Irreps, irreps_env: o3.Irreps, irreps_out: o3.Irreps) -> Tensor:
    """C[path, a, b, c]: the paths of a tensor product as dense arrays, `component` normalized: sqrt(2 l_c + 1) 3j.

    Paths are ordered by output, then first, then second irrep.  float64.
    """
    paths = []
    for slice_c, (_, c) in zip(irreps_out.slices(), irreps_out, strict=True):
        for slice_a, (_, a) in zip(irreps_in.slices(), irreps_in, strict=True):
            for slice_b, (_, b) in zip(irreps_env.slices(), irreps_env, strict=True):
                if c in a * b:
                    path = torch.zeros(irreps_in.dim, irreps_env.dim, irreps_out.dim, dtype=torch.float64)
                    path[slice_a, slice_b, slice_c] = math.sqrt(2 * c.l + 1) * o3.wigner_3j(
                        a.l, b.l, c.l, dtype=torch.float64
                    )
                    paths.append(path)
    return torch.stack(paths)


class AdjointProduct(nn.Module):
    """The tensor product of one layer with its path weights, seen from the output: q[c] -> q[a].

    Args:
        irreps_in, irreps_env, irreps_out: V^{k-1}, the environment, V^k; 0e comes first in irreps_out.
        num_channels: U.
        coupled: a weight for each path and channel, or one for each path.
    """

    coefficients: Tensor
    path_of: Tensor
    entry_of: Tensor

    def __init__(
        self, irreps_in: o3.Irreps, irreps_env: o3.Irreps, irreps_out: o3.Irreps, num_channels: int, coupled: bool
    ) -> None:
        super().__init__()
        paths = clebsch_gordan_paths(irreps_in, irreps_env, irreps_out).to(torch.get_default_dtype())
        self.num_channels = num_channels
        self.weight = nn.Parameter(unit_variance(num_channels if coupled else 1, paths.shape[0]))
        self.shape = (irreps_env.dim, irreps_out.dim, irreps_in.dim)
        # One in 500 coefficients is not zero (l_max 4): those alone, or they would be most of an archive.
        by_path = paths.permute(0, 2, 3, 1).reshape(paths.shape[0], -1)  # [P, b*c*a]
        path_of, entry_of = by_path.nonzero(as_tuple=True)
        self.register_buffer("coefficients", by_path[path_of, entry_of], persistent=False)
        self.register_buffer("path_of", path_of, persistent=False)
        self.register_buffer("entry_of", entry_of, persistent=False)

    def kernel(self) -> Tensor:
        """Weighted coefficients K[u, b, c, a]."""
        b, c, a = self.shape
        weighted = self.weight.index_select(1, self.path_of) * self.coefficients
        # Irreps have one channel each, so an entry b, c, a belongs to one path: nothing is to be added up.
        kernel = weighted.new_zeros(weighted.shape[0], b * c * a).index_copy(1, self.entry_of, weighted)
        return kernel.expand(self.num_channels, b * c * a).view(self.num_channels, b, c, a)


def start_adjoint(environment_by_channel: Tensor, kernel: Tensor) -> Tensor:
    """q[u, atom, a] = sum_b K[u, b, 0e, a] G[u, atom, b], the last layer's contraction to 0e."""
    return torch.bmm(environment_by_channel, kernel[:, :, 0, :])


def continue_adjoint(environment_by_channel: Tensor, q: Tensor, kernel: Tensor) -> Tensor:
    """q[u, atom, a] <- sum_bc K[u, b, c, a] G[u, atom, b] q[u, atom, c]."""
    num_channels, b, c, a = kernel.shape
    outer = environment_by_channel.unsqueeze(3) * q.unsqueeze(2)
    return torch.bmm(outer.view(num_channels, -1, b * c), kernel.reshape(num_channels, b * c, a))
