"""The per-atom form equals e3nn's tensor products on edges, to rounding."""

import pytest
import torch

from tests.conftest import MIXED_CUTOFFS, edges_of, make_potential, silica
from tests.models.per_edge_oracle import allegro_per_edge


def energy_and_gradient(function, vectors):
    vectors = vectors.clone().requires_grad_(True)
    energy = function(vectors)
    (gradient,) = torch.autograd.grad(energy.sum(), vectors)
    return energy.detach(), gradient


@pytest.mark.parametrize("parity", [True, False])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("l_max", [0, 1, 2, 3])
def test_per_atom_form_equals_per_edge_oracle(l_max, num_layers, parity):
    shape = {"num_tensor_features": 8, "num_scalar_features": 16}
    potential = make_potential(l_max=l_max, num_layers=num_layers, parity=parity, pair_cutoffs=MIXED_CUTOFFS, **shape)
    config = potential.parameters_used.config
    vectors, edge_index, types = edges_of(silica(), cutoffs=MIXED_CUTOFFS)
    energy, gradient = energy_and_gradient(lambda v: potential.model(v, edge_index, types), vectors)
    expected, expected_gradient = energy_and_gradient(
        lambda v: allegro_per_edge(potential.model, config, v, edge_index, types), vectors
    )
    torch.testing.assert_close(energy, expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12 * expected_gradient.abs().max().item())


@pytest.mark.parametrize(
    "options",
    [
        {"l_max": 4, "num_layers": 2, "num_tensor_features": 4},
        {"path_channel_coupling": False, "num_layers": 3},
        {"radial_basis": "spline", "num_radial": 10},
        {"num_embedding_features": 22},
        {"latent_mlp_depth": 0, "two_body_mlp_depth": 2, "readout_mlp_depth": 0},
        {"latent_mlp_depth": 2, "latent_mlp_width": 48},
        {"num_tensor_features": 32, "num_scalar_features": 64, "num_layers": 2},
    ],
    ids=lambda o: ",".join(o),
)
def test_every_option_equals_per_edge_oracle(options):
    potential = make_potential(**{"num_tensor_features": 8, "num_scalar_features": 16, "l_max": 2} | options)
    vectors, edge_index, types = edges_of(silica())
    energy, gradient = energy_and_gradient(lambda v: potential.model(v, edge_index, types), vectors)
    expected, expected_gradient = energy_and_gradient(
        lambda v: allegro_per_edge(potential.model, potential.parameters_used.config, v, edge_index, types), vectors
    )
    torch.testing.assert_close(energy, expected, rtol=0, atol=1e-12 * expected.abs().max().item())
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12 * expected_gradient.abs().max().item())
