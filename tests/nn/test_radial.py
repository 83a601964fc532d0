"""Radial functions against their published formulas."""

import math

import pytest
import torch

from allegro_dist.nn.radial import SplineEmbedding, bessel_basis, envelope, spline_basis


@pytest.mark.parametrize("power", [2, 6, 9])
def test_envelope_equals_dimenet_polynomial(power):
    x = torch.linspace(0.01, 0.999, 200, dtype=torch.float64)
    p = power
    published = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    torch.testing.assert_close(envelope(x, power), published, rtol=0, atol=1e-13)


def test_envelope_keeps_its_relative_precision_near_the_cutoff():
    x = 1 - torch.logspace(-4, -1, 20, dtype=torch.float64)
    single = envelope(x.float(), 6).double()
    torch.testing.assert_close(single, envelope(x.float().double(), 6), rtol=1e-6, atol=0)


def test_envelope_is_exactly_zero_with_zero_slope_beyond_the_cutoff():
    x = torch.tensor([1.0, 1.0 + 1e-12, 2.0], dtype=torch.float64, requires_grad=True)
    value = envelope(x, 6)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert (value == 0).all() and (slope == 0).all()


def test_bessel_basis_is_the_spherical_bessel_function_of_order_zero():
    from scipy.special import spherical_jn

    x = torch.linspace(0.05, 1.0, 50, dtype=torch.float64)
    n = torch.arange(1, 9, dtype=torch.float64)
    expected = n.numpy() * spherical_jn(0, math.pi * x.numpy()[:, None] * n.numpy())
    torch.testing.assert_close(bessel_basis(x, n), torch.tensor(expected), rtol=0, atol=1e-13)


def test_spline_basis_sums_to_a_constant_inside_and_vanishes_outside():
    x = torch.linspace(0.0, 0.4, 30, dtype=torch.float64)
    total = spline_basis(x, 12, 6).sum(dim=1)
    torch.testing.assert_close(total, total[0].expand(30), rtol=1e-12, atol=0)
    assert (spline_basis(torch.tensor([1.0, 1.5], dtype=torch.float64), 12, 6) == 0).all()


def test_spline_embedding_reads_the_weights_of_its_ordered_pair():
    torch.manual_seed(0)
    embedding = SplineEmbedding(3, 5, 8, 4).double()
    x = torch.rand(7, dtype=torch.float64)
    center, neighbor = torch.randint(3, (7,)), torch.randint(3, (7,))
    expected = torch.einsum("es,esf->ef", spline_basis(x, 8, 4), embedding.weight[center * 3 + neighbor])
    torch.testing.assert_close(embedding(x, center, neighbor), expected, rtol=0, atol=1e-14)
