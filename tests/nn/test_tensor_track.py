"""The two edge primitives and the irreps of the layers."""

import torch
from e3nn import o3

from allegro_dist.nn.neighbor_table import neighbor_table
from allegro_dist.nn.tensor_track import environment, layer_irreps, projection


def mask(l_max):
    order_of = torch.tensor([l for l in range(l_max + 1) for _ in range(2 * l + 1)])
    return torch.eye(l_max + 1, dtype=torch.float64)[order_of]


def test_environment_equals_explicit_sum():
    torch.manual_seed(0)
    weights, harmonics = torch.randn(4, 6, 3 * 5, dtype=torch.float64), torch.randn(4, 6, 9, dtype=torch.float64)
    order_of = mask(2).argmax(1)
    expected = torch.einsum("amdu,amd->adu", weights.view(4, 6, 3, 5)[:, :, order_of], harmonics)
    torch.testing.assert_close(environment(weights, harmonics, mask(2)), expected, rtol=0, atol=1e-13)


def test_projection_is_the_transpose_of_environment():
    torch.manual_seed(0)
    weights, harmonics = torch.randn(4, 6, 3 * 5, dtype=torch.float64), torch.randn(4, 6, 9, dtype=torch.float64)
    q, f = torch.randn(4, 9, 5, dtype=torch.float64), torch.randn(4 * 6, 5, dtype=torch.float64)
    left = (projection(weights, harmonics, q, mask(2)) * f).sum()
    scaled = (weights.view(4, 6, 3, 5) * f.view(4, 6, 1, 5)).view(4, 6, 15)
    right = (q * environment(scaled, harmonics, mask(2))).sum()
    torch.testing.assert_close(left, right, rtol=1e-13, atol=0)


def test_layer_irreps_drop_what_cannot_reach_a_scalar():
    assert layer_irreps(2, True, 2)[1] == o3.Irreps("0e + 1o + 2e")
    assert layer_irreps(2, True, 3)[1] == o3.Irreps("0e + 1e + 1o + 2e + 2o")
    assert layer_irreps(2, False, 3)[1] == o3.Irreps("0e + 1o + 2e")
    assert all(layer_irreps(3, parity, 3)[-1] == o3.Irreps("0e") for parity in (True, False))


def test_neighbor_table_keeps_every_edge_and_fills_the_rest():
    vectors = torch.arange(12, dtype=torch.float64).view(4, 3) + 1
    edge_index = torch.tensor([[0, 0, 2, 3], [1, 2, 0, 1]])
    table = neighbor_table(vectors, edge_index, torch.tensor([0, 1, 2, 0]), 9.0)
    assert (table.num_atoms, table.num_slots) == (4, 2)
    rows = table.edge_vectors.view(4, 2, 3)
    assert torch.equal(rows[0], vectors[:2]) and torch.equal(rows[2, 0], vectors[2])
    assert torch.equal(rows[1, 1], torch.tensor([9.0, 0.0, 0.0], dtype=torch.float64))
    assert table.neighbor_types.view(4, 2)[:, 0].tolist() == [1, 0, 0, 1]
