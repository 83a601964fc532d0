"""Functions of the edge length: envelope, Bessel basis, and splines per ordered type pair.

All take the reduced length x = r / r_cut, with r_cut the cutoff of the ordered type pair, so that everything that is
built on them vanishes smoothly at that pair's own cutoff.
"""

import math

import torch
from torch import Tensor, nn


def envelope(x: Tensor, power: int) -> Tensor:
    """Polynomial cutoff of Gasteiger et al. 2020 (DimeNet, eq. 8): u(0) = 1, and u, u', u'' vanish at x = 1.

    Written as (1 - x)^3 sum_{k<p} (k+1)(k+2)/2 x^k: the same polynomial with positive terms only, so that it keeps its
    relative precision near the cutoff, and is exactly zero with a zero slope beyond it.

    Args:
        x: reduced lengths, any shape.
        power: p >= 2.
    """
    series = torch.full_like(x, (power * (power + 1)) / 2)
    for k in range(power - 2, -1, -1):
        series = series * x + ((k + 1) * (k + 2)) / 2
    gap = (1.0 - x).clamp(min=0.0)
    return gap * gap * gap * series


def bessel_basis(x: Tensor, wavenumbers: Tensor) -> Tensor:
    """Spherical Bessel functions of order zero, sin(n pi x) / (pi x) for each wavenumber n.

    Args:
        x: [E] reduced lengths, > 0.
        wavenumbers: [B]; 1..B unless trained.

    Returns: [E, B].
    """
    pi_x = (math.pi * x).unsqueeze(-1)
    return torch.sin(pi_x * wavenumbers) / pi_x


def spline_basis(x: Tensor, num_splines: int, span: int) -> Tensor:
    """Bumps ((1 - cos t) / 2)^2 on equally spaced supports, `span` of which overlap; the last one ends at x = 1.

    Args:
        x: [E] reduced lengths.

    Returns: [E, num_splines]; zero, with three continuous derivatives, at x >= 1.
    """
    lower = (torch.arange(num_splines, dtype=x.dtype, device=x.device) - span) / num_splines
    width = (span + 1) / num_splines
    inside = (x.unsqueeze(-1) - lower).clamp(min=0.0, max=width)
    bump = 0.5 * (1.0 - torch.cos((2 * math.pi / width) * inside))
    return bump * bump


class BesselEmbedding(nn.Module):
    """Bessel functions times envelope, mapped to F features and multiplied by the product type embedding.

    b_ij[f] = z_f(type_i, type_j) sum_n W[f, n] sin(n pi x) / (pi x) u(x); the first half of z is a learned function of
    the center's type, the second half of the neighbor's.
    """

    weights_of_types = ("center", "neighbor")  # whose rows belong to the types

    def __init__(self, num_types: int, num_features: int, num_radial: int, power: int, trainable: bool) -> None:
        super().__init__()
        self.power = power
        wavenumbers = torch.arange(1, num_radial + 1, dtype=torch.get_default_dtype())
        if trainable:
            self.wavenumbers = nn.Parameter(wavenumbers)
        else:
            self.register_buffer("wavenumbers", wavenumbers)
        self.mix = nn.Parameter(unit_variance(num_radial, num_features) / math.sqrt(num_radial))
        self.center = nn.Parameter(torch.randn(num_types, num_features // 2))
        self.neighbor = nn.Parameter(torch.randn(num_types, num_features // 2))

    def forward(self, x: Tensor, center_types: Tensor, neighbor_types: Tensor) -> Tensor:
        """x [E] reduced lengths, types [E] -> [E, F]."""
        radial = bessel_basis(x, self.wavenumbers) * envelope(x, self.power).unsqueeze(-1)
        if self.center.shape[0] == 1:  # one type: the embedding is a constant, folded into the map
            return radial @ (self.mix * torch.cat((self.center, self.neighbor), dim=1))
        types = torch.cat((self.center.index_select(0, center_types), self.neighbor.index_select(0, neighbor_types)), 1)
        return (radial @ self.mix) * types


class SplineEmbedding(nn.Module):
    """F splines for every ordered type pair: b_ij[f] = sum_n W[type_i, type_j][n, f] spline_n(x)."""

    weights_of_pairs = ("weight",)  # whose rows belong to the ordered pairs of types

    def __init__(self, num_types: int, num_features: int, num_splines: int, span: int) -> None:
        super().__init__()
        self.num_types, self.num_splines, self.span = num_types, num_splines, span
        self.weight = nn.Parameter(torch.randn(num_types * num_types, num_splines, num_features))

    def forward(self, x: Tensor, center_types: Tensor, neighbor_types: Tensor) -> Tensor:
        """x [E] reduced lengths, types [E] -> [E, F]."""
        splines = spline_basis(x, self.num_splines, self.span)
        pair = center_types * self.num_types + neighbor_types
        out = torch.zeros(x.shape[0], self.weight.shape[2], dtype=x.dtype, device=x.device)
        for p in range(self.weight.shape[0]):  # one matrix product per pair; other pairs' rows are masked to zero
            out = out + (splines * (pair == p).unsqueeze(-1)) @ self.weight[p]
        return out


def unit_variance(*shape: int) -> Tensor:
    """Uniform random numbers with mean 0 and variance 1."""
    return (2 * torch.rand(*shape) - 1) * math.sqrt(3)
